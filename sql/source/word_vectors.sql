-- One row per (space, language, word of the study's corpora that the space covers).
-- key: space, language, word
-- source: the vector files, or the model's own input embeddings; vectors are not normalised
select * from files.word_vectors
