"""Models and what they say."""
