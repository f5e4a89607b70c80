-- Aligned concepts of two languages with the words that match: of each layer those in which most words do.
-- key: model, lexicon, source_clustering, target_clustering, variant, source_concept, target_concept
-- source: calign_matches; at most 20 pairs of concepts a clustering, and of each at most 12 words, the most frequent first
-- kept: by model
-- column model: Key of the model in the study.
-- column corpus: Dataset that was clustered, or several joined by `+`.
-- column stack: Which half of the model the states are from: encoder or decoder.
-- column convention: Decoders: the state that has consumed the sub-token or the one that predicts it; NULL for encoders.
-- column layer: Layer of that stack; 0 is the embeddings.
-- column lexicon: Lexicon that the words are matched through.
-- column source_language: Language whose concepts are looked for.
-- column target_language: Language in which they are looked for.
-- column variant: As in `calign`.
-- column source_clustering: Clustering of the source language.
-- column target_clustering: Clustering of the target language.
-- column source_concept: Concept of the source language.
-- column target_concept: Concept of the target language that it is aligned with.
-- column source_types: Different words in the source concept.
-- column target_types: Different words in the target concept.
-- column matched: Source types with a translation in the target concept.
-- column share: matched / source_types.
-- column source_words: Matched words of the source concept.
-- column target_words: A translation of each of them in the target concept, the best by the lexicon.
with
words as (
    select
        model, corpus, stack, convention, layer, lexicon, source_language, target_language, variant, source_clustering,
        target_clustering, source_concept, target_concept, source_types, target_types, matched, source_word,
        arg_min(target_word, struct_pack(rank, target_word)) as target_word,
        max(source_occurrences) as occurrences
    from calign_matches
    group by all
),
pairs as (
    select
        * exclude (source_word, target_word, occurrences),
        finite(matched / source_types) as share,
        list(source_word order by occurrences desc, source_word) as source_words,
        list(target_word order by occurrences desc, source_word) as target_words
    from words
    group by all
)
select * replace (source_words[:12] as source_words, target_words[:12] as target_words)
from pairs
qualify row_number() over (
    partition by model, lexicon, source_clustering, target_clustering, variant
    order by matched desc, share desc, source_concept, target_concept
) <= 20
