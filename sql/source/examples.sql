-- One row per (dataset, split, language, example): the text as read, before any tokenizer.
-- key: dataset, split, language, example_id
-- source: the original data files; the start of an answer in code points of text_pair
select * from files.examples
