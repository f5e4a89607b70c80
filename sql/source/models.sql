-- One row per model of the study: what it is, exactly, and how it was trained if it was trained here.
-- key: model
-- source: configuration, weights and tokenizer of the checkpoint; duration_s in seconds
select * from files.models
