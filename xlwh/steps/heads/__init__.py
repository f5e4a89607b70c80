"""Attention heads: their values, their importance, masks."""
