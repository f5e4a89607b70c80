-- One row per (concept, author): the name that somebody gave to a concept.
-- key: model, clustering, concept, author
-- source: the CSV file that the study names
select * from files.concept_labels
