-- One row per (language, mask): the pruned model against the whole one on the same examples.
-- key: model, dataset, split, language, ranking, mask_language, draw, selection, num_removed
-- source: paired bootstrap over examples, p = (1 + k) / (B + 1); exact McNemar test; shares
select * from files.pruning_tests
