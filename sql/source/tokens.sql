-- One row per sub-token that the model sees, special tokens included, padding not.
-- key: model, dataset, split, language, example_id, position
-- source: the model's tokenizer; char_start and char_end in code points of the segment
select * from files.tokens
