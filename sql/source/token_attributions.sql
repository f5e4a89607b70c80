-- One row per (model, example, method, target, sub-token): a signed, unnormalised attribution.
-- key: model, dataset, split, language, example_id, method, target, position
-- source: layer integrated gradients (arXiv 1703.01365) summed over embedding dimensions, in logits
select * from files.token_attributions
