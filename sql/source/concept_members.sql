-- One row per (clustering, word occurrence): the concept that it belongs to.
-- key: model, clustering, dataset, split, language, example_id, word_index
-- source: Exploring alignment in shared cross-lingual spaces (ACL 2024), section 3; distance in units of the states
select * from files.concept_members
