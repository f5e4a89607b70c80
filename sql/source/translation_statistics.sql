-- One row per (model, example, metric): the counts that corpus BLEU or chrF is a function of the sums of.
-- key: model, dataset, split, language, example_id, metric
-- source: sacreBLEU (Post 2018), with its signature
select * from files.translation_statistics
