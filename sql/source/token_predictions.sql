-- One row per (model, example, gold word): its tag as predicted, or why there is none.
-- key: model, dataset, split, language, example_id, word_index
-- source: a forward pass of the model, read at one sub-token of each word; probabilities are shares
select * from files.token_predictions
