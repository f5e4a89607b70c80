-- One row per run of k-means: what was clustered, how, and how well it went.
-- key: model, clustering
-- source: Exploring alignment in shared cross-lingual spaces (ACL 2024), section 3; inertia in squared units of the states
select * from files.clusterings
