"""Keeping a warehouse and its study in agreement: what the study names, dropping, renaming, and why files are stale."""
