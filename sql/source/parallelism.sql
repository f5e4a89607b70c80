-- One row per two languages of a dataset that are joined by row or id: whether they are translations of each other.
-- key: dataset, split, source_language, target_language
-- source: the original data files; lengths, labels, repeated texts, numbers and words, see docs/consistency.md
select * from files.parallelism
