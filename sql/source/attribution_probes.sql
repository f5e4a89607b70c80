-- One row per (model, example, method, target, draw): what the attributions say of tokens removed at random beside what the model does, and how far noise moves them.
-- key: model, dataset, split, language, example_id, method, target, draw
-- source: Yeh et al. 2019, "On the (in)fidelity and sensitivity of explanations", definitions 2.1 and 3.1; logits
select * from files.attribution_probes
