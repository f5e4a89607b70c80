-- One row per language present in a concept of a mixed clustering: its words there.
-- key: model, clustering, baseline, draw, concept, language
-- source: COLAP's counts before any threshold; also with random labels
select * from files.concept_languages
