-- One row per measured marginal: how one example's score changes when one player leaves a coalition.
-- key: model, dataset, split, language, sampler, permutation, example_id, unit, layer, head
-- source: permutation sampling of Shapley values, marginal = v(S + h) - v(S) on one example, a share
select * from files.head_samples
