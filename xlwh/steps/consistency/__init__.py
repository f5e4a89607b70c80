"""Cross-lingual consistency of attributions."""
