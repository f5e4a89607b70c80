-- One row per (model, corpus, layer, measure, languages): how alike languages are in a model's hidden states.
-- key: model, corpus, stack, convention, layer, measure, source_language, target_language
-- source: linear CKA: Kornblith et al. 2019; anisotropy: Ethayarajh 2019; retrieval by cosine, as in LASER's Tatoeba
select * from files.representation_similarities
