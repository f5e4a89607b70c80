-- One row per (model, example): logits as computed, so that every score is a view.
-- key: model, dataset, split, language, example_id
-- source: a forward pass of the model; probabilities are shares
select * from files.predictions
