-- One row per (model, example, mask): how right the pruned model is on an example not used for sampling.
-- key: model, dataset, split, language, example_id, ranking, mask_language, draw, selection, num_removed
-- source: forward passes in float32 with the mask's gates closed
select * from files.pruning_evaluations
