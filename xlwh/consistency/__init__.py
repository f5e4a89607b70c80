"""Consistency of token attributions across languages (CCTA): how far the explanations of parallel texts agree.

Belongs here: word vectors in a shared space, dictionaries that align spaces, optimal transport between weighted
words, and the rows of `word_vectors` and `ccta_pairs`. Does not belong here: computing attributions, reading the
warehouse (the steps do), or averaging scores (the views do). Importing this package imports nothing heavy, since
the worker processes of `parallel` begin with it.
"""
