"""Attention heads: what each is worth (Shapley values by sampling), which do harm, and what removing them does.

Belongs here: the engine that evaluates coalitions, the samplers, sequential statistics over samples, rankings and
masks, pruned checkpoints. Does not belong here: closing a head's gate (`xlwh.models.gates`), the resampling tests
(`xlwh.stats`), and whatever a view can say over the stored samples (`sql/metric/head_shapley.sql` and its kin).
"""
