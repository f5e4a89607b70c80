-- One row per cluster of a clustering, empty ones included.
-- key: model, clustering, concept
-- source: Exploring alignment in shared cross-lingual spaces (ACL 2024), section 3
select * from files.concepts
