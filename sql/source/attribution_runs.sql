-- One row per (model, example, method, target): what was integrated, at what cost, how well it converged.
-- key: model, dataset, split, language, example_id, method, target
-- source: convergence_delta = sum of attributions - (f_input - f_baseline), in logits (completeness: arXiv 1703.01365)
select * from files.attribution_runs
