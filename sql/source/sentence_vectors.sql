-- One row per (model, dataset, example, stack, layer): the mean state of its sub-tokens, in half precision.
-- key: model, dataset, split, language, stack, convention, layer, example_id
-- source: the model's hidden states, special tokens left out
select * from files.sentence_vectors
