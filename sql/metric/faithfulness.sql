-- Faithfulness of an attribution method for one model, dataset and language, beside that of random attributions.
-- key: model, dataset, split, language, method, importance, masking, side, variant
-- source: mean over examples of view faithfulness_examples; ratio = mean AOPC(method) / mean AOPC(random), above 1 is more faithful than chance (arXiv 2403.12809, section 3); 95 % intervals take clusters (examples.cluster) and not examples as independent: jackknife by cluster, method and random together, Student's t, none below ten clusters and where all agree; strict leaves out examples whose attributions did not converge
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
-- column clusters: Clusters of examples that share a text: what intervals take as independent.
-- column saturated: Examples left out because masking everything costs nothing.
-- column score: Mean normalised sufficiency or comprehensiveness (eraser: not normalised; lower sufficiency is better).
-- column score_low: Lower end of the 95 % interval; NULL below ten clusters.
-- column score_high: Upper end of it.
-- column unnormalized: Mean of the same before normalising.
-- column random_score: Mean score of random attributions on the same examples.
-- column ratio: score / random_score; NULL for eraser, whose differences may be negative.
-- column ratio_low: Lower end of the 95 % interval; NULL below ten clusters.
-- column ratio_high: Upper end of it.
-- column difference: score - random_score.
-- column difference_low: Lower end of the 95 % interval; NULL below ten clusters.
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
clustered as (
    select
        model, dataset, split, language, method, importance, mode, masking, side, variant,
        cluster,
        count_if(is_scored) as n,
        count(*) filter (counts and saturated) as saturated,
        sum(score) filter (is_scored) as score,
        sum(unnormalized) filter (is_scored) as unnormalized,
        sum(random_score) filter (is_scored) as random_score,
        sum(draw_sd) filter (is_scored) as draw_sd,
        count(draw_sd) filter (is_scored) as drawn,
        count(*) filter (converged) as num_converged,
        count(*) filter (not converged) as num_unconverged
    from paired
    group by all
),
cells as (
    select
        model, dataset, split, language, method, importance, mode, masking, side, variant,
        sum(n)::bigint as n,
        count_if(n > 0)::bigint as clusters,
        sum(saturated)::bigint as saturated,
        sum(score) / nullif(sum(n), 0) as score,
        sum(unnormalized) / nullif(sum(n), 0) as unnormalized,
        sum(random_score) / nullif(sum(n), 0) as random_score,
        sum(score) / nullif(sum(random_score), 0) as ratio,
        sum(random_score) as random_total,
        sum(draw_sd) / nullif(sum(drawn), 0) as draw_sd,
        sum(num_converged) / nullif(sum(num_converged + num_unconverged), 0) as converged_share,
        sum(num_unconverged)::bigint as num_unconverged,
        list(n::double order by cluster) filter (n > 0) as sizes,
        list(score order by cluster) filter (n > 0) as scores,
        list(random_score order by cluster) filter (n > 0) as random_scores,
        list(score - random_score order by cluster) filter (n > 0) as differences
    from clustered
    group by all
),
erring as (
    select
        *,
        cluster_error(scores, sizes, score, n) as score_se,
        case when variant <> 'eraser' then cluster_error(scores, random_scores, ratio, random_total) end as ratio_se,
        cluster_error(differences, sizes, score - random_score, n) as difference_se
    from cells
)
select
    model, dataset, split, language, method, importance, mode, masking, side, variant,
    n,
    clusters,
    saturated,
    score,
    cluster_low(score, score_se, clusters, lowest := case when variant = 'eraser' then -1.0 else 0.0 end) as score_low,
    cluster_high(score, score_se, clusters, highest := 1.0) as score_high,
    unnormalized,
    random_score,
    case when variant <> 'eraser' then ratio end as ratio,
    cluster_low(ratio, ratio_se, clusters, lowest := 0.0) as ratio_low,
    cluster_high(ratio, ratio_se, clusters) as ratio_high,
    score - random_score as difference,
    cluster_low(score - random_score, difference_se, clusters, lowest := case when variant = 'eraser' then -2.0 else -1.0 end) as difference_low,
    cluster_high(score - random_score, difference_se, clusters, highest := case when variant = 'eraser' then 2.0 else 1.0 end) as difference_high,
    draw_sd,
    converged_share,
    num_unconverged
from erring
