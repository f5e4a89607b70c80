"""Attributions of predictions, and their checks."""
