-- CALIGN at thresholds around the paper's, one changed at a time: the least share of matching types, or how many translations count.
-- key: model, lexicon, source_clustering, target_clustering, variant, theta, n_best
-- source: calign_sweep at theta .7, .8 and .9 with the 10 best translations, and at theta .8 with the 5 and the 20 best; others: calign_sweep
-- kept: by model
-- column model: Key of the model in the study.
-- column corpus: Dataset that was clustered, or several joined by `+`.
-- column stack: Which half of the model the states are from: encoder or decoder.
-- column convention: Decoders: the state that has consumed the sub-token or the one that predicts it; NULL for encoders.
-- column layer: Layer of that stack; 0 is the embeddings.
-- column seed: Seed of the clusterings.
-- column source_clustering: Clustering of the source language; see `clusterings`.
-- column target_clustering: Clustering of the target language, of the same corpus, layer, K and seed.
-- column lexicon: Lexicon that the types are matched through.
-- column source_language: Language whose concepts are looked for.
-- column target_language: Language in which they are looked for.
-- column variant: As in `calign`.
-- column theta: Least share of the source types that match.
-- column n_best: Translations of a word that count.
-- column aligned: Source concepts that are aligned; NULL where the stored matches do not go as far as theta or n_best.
-- column score: aligned / concepts, a share.
-- column score_low: Lower end of the 95 % interval over concepts.
-- column score_high: Upper end of it.
-- column null_lexicon: Mean score over the draws in which every word has the translations of another.
select
    model, corpus, stack, convention, layer, seed, source_clustering, target_clustering, lexicon, source_language,
    target_language, variant, theta, n_best, aligned, score, score_low, score_high, null_lexicon
from calign_sweep(thetas := [0.7, 0.8, 0.9], n_bests := [5, 10, 20])
where theta = 0.8 or n_best = 10
