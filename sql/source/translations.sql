-- One row per (model, text translated): how the writing of `predictions.predicted` went.
-- key: model, dataset, split, language, example_id
-- source: greedy or beam search up to `max_tokens` sub-tokens, as the study says
select * from files.translations
