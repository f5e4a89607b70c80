"""What the studies of the papers name, small enough for a test: checkpoints, datasets and files of our own making."""
