-- One row per (model, example, head): everything that the head attends to, in half precision.
-- key: model, dataset, split, language, example_id, layer, head
-- source: softmax of the eager attention in a forward pass of the whole model; a few short examples, the same ids in every language
select * from files.attention_maps
