-- One row per (model, dataset, word occurrence, stack, layer): the word's vector, in half precision.
-- key: model, dataset, split, language, stack, convention, layer, aggregation, example_id, word_index
-- source: the model's hidden states; cast a vector to FLOAT[n] for DuckDB's array functions
select * from files.activations
