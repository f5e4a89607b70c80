-- One row per number printed in one of the papers' tables.
-- key: paper, table, model, dataset, source_language, language, metric, variant
-- source: the papers' tables; value as printed there
select * from files.published_results
