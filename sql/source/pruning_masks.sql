-- One row per mask that was made in a language: which players it removes, by which ranking, and how many.
-- key: model, dataset, split, language, ranking, draw, selection, num_removed
-- source: players in ascending order of their value or importance
select * from files.pruning_masks
