-- Faithfulness of an attribution method for one model, dataset and language, beside that of random attributions.
-- key: model, dataset, split, language, method, importance, masking, side, variant
-- source: mean over examples of view faithfulness_examples; ratio = mean AOPC(method) / mean AOPC(random), above 1 is more faithful than chance (arXiv 2403.12809, section 3); 95 % intervals: percentiles of 1000 resamples of the examples (Bayesian bootstrap), method and random resampled together, NULL where all resamples agree; strict leaves out examples whose attributions did not converge
-- kept: by model, language
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column method: Attribution method.
-- column importance: What tokens are ranked by: signed or abs.
-- column mode: hard: whole tokens; soft: parts of word vectors.
-- column masking: What became of tokens not kept.
-- column side: sufficiency or comprehensiveness.
-- column variant: strict, paper, published_code or eraser, as in faithfulness_examples.
-- column n: Examples counted.
-- column saturated: Examples left out because masking everything costs nothing.
-- column score: Mean normalised sufficiency or comprehensiveness (eraser: not normalised; lower sufficiency is better).
-- column score_low: Lower end of the 95 % interval.
-- column score_high: Upper end of it.
-- column unnormalized: Mean of the same before normalising.
-- column random_score: Mean score of random attributions on the same examples.
-- column ratio: score / random_score; NULL for eraser, whose differences may be negative.
-- column ratio_low: Lower end of the 95 % interval.
-- column ratio_high: Upper end of it.
-- column difference: score - random_score.
-- column difference_low: Lower end of the 95 % interval.
-- column difference_high: Upper end of it.
-- column draw_sd: Mean over examples of the standard deviation over draws; NULL for a single draw.
-- column converged_share: Share of the attributions that converged, whether they count or not; NULL for methods without completeness.
-- column num_unconverged: Those that did not: left out of strict, kept in the other variants.
with
paired as (
    select
        scored.*,
        chance.score as random_score,
        counts_in(scored.variant, scored.converged) as counts,
        -- Defined, so that a resample can weigh it.
        counts and not scored.saturated and scored.score is not null and chance.score is not null as is_scored
    from faithfulness_examples as scored
    join faithfulness_examples as chance
        on chance.model = scored.model
        and chance.dataset = scored.dataset
        and chance.split = scored.split
        and chance.language = scored.language
        and chance.example_id = scored.example_id
        and chance.importance = scored.importance
        and chance.masking = scored.masking
        and chance.side = scored.side
        and chance.variant = scored.variant
        and chance.method = 'random'
),
cells as (
    select
        model, dataset, split, language, method, importance, mode, masking, side, variant,
        count_if(is_scored)::bigint as n,
        count_if(counts and saturated)::bigint as saturated,
        avg(score) filter (is_scored) as score,
        avg(unnormalized) filter (is_scored) as unnormalized,
        avg(random_score) filter (is_scored) as random_score,
        avg(draw_sd) filter (is_scored) as draw_sd,
        avg(converged::int) as converged_share,
        (count(*) filter (not converged))::bigint as num_unconverged,
        list(score order by example_id) filter (is_scored) as scores,
        list(random_score order by example_id) filter (is_scored) as random_scores
    from paired
    group by all
),
resamples as (
    select n, resample_weights(n, draw) as weights, list_sum(weights) as total
    from (select distinct n from cells where n > 1)
    cross join range(1000) as draws(draw)
),
-- Looked over once, not at every resample.
complete as (
    select
        * replace (
            case when is_complete(scores) then scores end as scores,
            case when is_complete(random_scores) then random_scores end as random_scores
        )
    from cells
),
resampled as (
    select
        model, dataset, split, language, method, importance, masking, side, variant,
        finite(list_inner_product(scores, weights) / total) as score,
        finite(list_inner_product(random_scores, weights) / total) as random_score
    from complete
    join resamples using (n)
),
intervals as (
    select
        model, dataset, split, language, method, importance, masking, side, variant,
        interval_of(score) as score_ends,
        interval_of(score / nullif(random_score, 0)) as ratio_ends,
        interval_of(score - random_score) as difference_ends
    from resampled
    group by all
)
select
    model, dataset, split, language, method, importance, mode, masking, side, variant,
    n,
    saturated,
    score,
    score_ends[1] as score_low,
    score_ends[2] as score_high,
    unnormalized,
    random_score,
    case when variant = 'eraser' then null else score / nullif(random_score, 0) end as ratio,
    case when variant = 'eraser' then null else ratio_ends[1] end as ratio_low,
    case when variant = 'eraser' then null else ratio_ends[2] end as ratio_high,
    score - random_score as difference,
    difference_ends[1] as difference_low,
    difference_ends[2] as difference_high,
    draw_sd,
    converged_share,
    num_unconverged
from cells
left join intervals using (model, dataset, split, language, method, importance, masking, side, variant)
