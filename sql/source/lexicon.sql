-- One row per translation of a word, with its rank among the translations of that word.
-- key: lexicon, source_language, target_language, source_word, target_word
-- source: word alignments symmetrised by grow-diag-final-and, p(target | source) by relative frequency of the links; or a published file
select * from files.lexicon
