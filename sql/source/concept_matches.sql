-- One row per pair of concepts with matching types: how many of them match, by rank of the translation.
-- key: model, lexicon, source_clustering, target_clustering, baseline, draw, source_concept, target_concept
-- source: CALIGN's numerator before any threshold; also with a shuffled lexicon and with random labels
select * from files.concept_matches
