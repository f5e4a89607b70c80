-- One row per (model, question that got an answer): the span behind `predictions.predicted`.
-- key: model, dataset, split, language, example_id
-- source: the largest sum of start and end logits over all windows; positions in the uncut input, as in tokens
select * from files.answer_spans
