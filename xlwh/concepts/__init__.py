"""Concepts: activations of words, their clusters, and how alike languages are in a model's hidden states.

Here are functions over arrays and frames: which occurrences of a word are kept, the words' vectors out of a model,
k-means, and measures of similarity. What a partition needs and where it is written is in `xlwh.steps`; alignment and
overlap of concepts between languages are views under `sql/metric`.
"""
