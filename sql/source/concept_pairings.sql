-- One row per pair of clusterings whose concepts were matched through a lexicon.
-- key: model, lexicon, source_clustering, target_clustering
-- source: what was matched, how far, and how much of the source words the lexicon covers
select * from files.concept_pairings
