-- One row per parallel pair: its optimal-transport score and the two nulls.
-- key: model, dataset, split, source_language, target_language, example_id, method, target, target_policy, space, unit, normalization
-- source: C(s, t) = 1 - EMD(w_s, w_t, 1 - max(cosine, 0)), a share
select * from files.ccta_pairs
