-- One row per concept that is not empty: what its words have in common, for the question what kind it is.
-- key: model, clustering, concept
-- source: Exploring alignment in shared cross-lingual spaces (ACL 2024), figure 9; gold tags from the examples
select * from files.concept_kinds
