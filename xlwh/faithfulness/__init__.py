"""Faithfulness: does a model's probability depend on the tokens that an attribution calls important?

Here belong choosing what is kept of an input, and the model's probabilities for what is left. Attributions come
in as arrays, whatever method they are of; metrics over the probabilities are views (`sql/metric/faithfulness.sql`).
"""
