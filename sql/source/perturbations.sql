-- One row per perturbed input: the probability of the predicted class, whole, perturbed and empty.
-- key: model, dataset, split, language, example_id, method, importance, masking, side, ratio, repeat
-- source: the rationale are the k = ceil(ratio * num_attributable) tokens of highest attribution (arXiv 2403.12809, section 3), probabilities
select * from files.perturbations
