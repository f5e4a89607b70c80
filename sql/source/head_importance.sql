-- One row per (model, language, method, player): importance by means other than Shapley values.
-- key: model, dataset, split, language, method, unit, layer, head
-- source: Michel et al. 2019, mean over the data of |sum of ctx * dL/dctx| per head; entropy of attention in nats
select * from files.head_importance
