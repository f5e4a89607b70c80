-- Consistency of token attributions (CCTA) between one source and one target language, over parallel pairs.
-- key: model, dataset, split, method, target_policy, output, space, unit, normalization, source_language, target_language, variant
-- source: C(s, t) = 1 - EMD(w_s, w_t, 1 - max(sim, 0)), per pair in ccta_pairs; excess over a null = mean over pairs of (score - null); 95 % intervals are normal approximations over pairs taken as independent, so they are somewhat narrow where examples share a text (XNLI: three hypotheses a premise)
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column method: Attribution method.
-- column target_policy: How the class was chosen: source_prediction, own_prediction or gold.
-- column output: What is explained: class, or start or end of an answer.
-- column space: Shared space of the similarities, as the study names it.
-- column unit: What mass sits on: word or token.
-- column normalization: Signed attributions to weights: abs, relu, min_max or softmax.
-- column source_language: Language whose prediction and attributions are the reference.
-- column target_language: Language that is compared with it.
-- column variant: strict: exact transport with inequality marginals, no padding, special tokens dropped.
-- column is_self: Source and target are the same language, which scores 1 by identity.
-- column n: Pairs.
-- column score: Mean C(s, t), a share.
-- column score_se: Standard error of it; NULL for fewer than two pairs.
-- column score_low: Lower end of the 95 % interval.
-- column score_high: Upper end of it.
-- column null_uniform: Mean score of the same pairs with uniform weights.
-- column null_shuffled: Mean score with the target side's weights shuffled over its words.
-- column excess_uniform: Mean of score - null_uniform: what the attributions add to the embeddings.
-- column excess_uniform_se: Standard error of it.
-- column excess_uniform_low: Lower end of the 95 % interval.
-- column excess_uniform_high: Upper end of it.
-- column excess_shuffled: Mean of score - null_shuffled: what placing the weights on the right words adds.
-- column excess_shuffled_se: Standard error of it.
-- column excess_shuffled_low: Lower end of the 95 % interval.
-- column excess_shuffled_high: Upper end of it.
-- column alignment: How both languages came into one space (see ccta_pairs.alignment); `none` means that nothing relates their vectors, so that score and nulls say nothing of meaning.
-- column source_coverage: Mean share of the source weight on units that have a vector.
-- column target_coverage: Mean share of the target weight on units that have a vector.
-- column degenerate_share: Share of the pairs in which a side had only zero weights and was set to uniform.
with moments as (
    select
        model, dataset, split, method, target_policy,
        -- The ends of an answer are scores of their own; all classes are one.
        if(target in ('start', 'end'), target, 'class') as output,
        space, unit, normalization, source_language, target_language,
        count(*) as n,
        avg(score) as score,
        stddev_samp(score) as score_sd,
        avg(null_uniform) as null_uniform,
        avg(null_shuffled) as null_shuffled,
        avg(score - null_uniform) as excess_uniform,
        stddev_samp(score - null_uniform) as excess_uniform_sd,
        avg(score - null_shuffled) as excess_shuffled,
        stddev_samp(score - null_shuffled) as excess_shuffled_sd,
        string_agg(distinct alignment, ', ' order by alignment) as alignment,
        avg(source_coverage) as source_coverage,
        avg(target_coverage) as target_coverage,
        avg(degenerate::int) as degenerate_share
    from ccta_pairs
    group by all
)
select
    model, dataset, split, method, target_policy, output, space, unit, normalization, source_language, target_language,
    'strict' as variant,
    source_language = target_language as is_self,
    n,
    score,
    score_sd / sqrt(n) as score_se,
    normal_low(score, score_sd, n) as score_low,
    normal_high(score, score_sd, n) as score_high,
    null_uniform,
    null_shuffled,
    excess_uniform,
    excess_uniform_sd / sqrt(n) as excess_uniform_se,
    normal_low(excess_uniform, excess_uniform_sd, n) as excess_uniform_low,
    normal_high(excess_uniform, excess_uniform_sd, n) as excess_uniform_high,
    excess_shuffled,
    excess_shuffled_sd / sqrt(n) as excess_shuffled_se,
    normal_low(excess_shuffled, excess_shuffled_sd, n) as excess_shuffled_low,
    normal_high(excess_shuffled, excess_shuffled_sd, n) as excess_shuffled_high,
    alignment,
    source_coverage,
    target_coverage,
    degenerate_share
from moments
