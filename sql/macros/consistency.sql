-- Consistency of token attributions over parallel pairs; a row as in the view `ccta`, which is this. With
-- keep_unconverged, variant `paper`: the pairs of which a side did not converge count too.
create macro ccta_at(keep_unconverged := false) as table
with
pairs as (
    select
        ccta_pairs.*,
        coalesce(examples.cluster, ccta_pairs.example_id) as cluster,
        both_converged(source_run.converged, target_run.converged) as converged
    from ccta_pairs
    left join examples
        on examples.dataset = ccta_pairs.dataset
        and examples.split = ccta_pairs.split
        and examples.language = ccta_pairs.source_language
        and examples.example_id = ccta_pairs.example_id
    -- Where each side explains its own class, the row bears the source side's.
    left join predictions as own
        on target_policy = 'own_prediction' and ccta_pairs.target not in ('start', 'end')
        and own.model = ccta_pairs.model
        and own.dataset = ccta_pairs.dataset
        and own.split = ccta_pairs.split
        and own.language = ccta_pairs.target_language
        and own.example_id = ccta_pairs.example_id
    left join attribution_runs as source_run
        on source_run.model = ccta_pairs.model
        and source_run.dataset = ccta_pairs.dataset
        and source_run.split = ccta_pairs.split
        and source_run.language = ccta_pairs.source_language
        and source_run.example_id = ccta_pairs.example_id
        and source_run.method = ccta_pairs.method
        and source_run.target = ccta_pairs.target
    left join attribution_runs as target_run
        on target_run.model = ccta_pairs.model
        and target_run.dataset = ccta_pairs.dataset
        and target_run.split = ccta_pairs.split
        and target_run.language = ccta_pairs.target_language
        and target_run.example_id = ccta_pairs.example_id
        and target_run.method = ccta_pairs.method
        and target_run.target = coalesce(own.predicted, ccta_pairs.target)
),
judged as (
    select *, case when keep_unconverged then 'paper' else 'strict' end as variant, counts_in(variant, converged) as counts from pairs
),
clustered as (
    select
        model, dataset, split, method, target_policy,
        -- The ends of an answer are scores of their own; all classes are one.
        case when target in ('start', 'end') then target else 'class' end as output,
        space, unit, normalization, source_language, target_language, variant,
        cluster,
        count_if(counts) as n,
        sum(score) filter (counts) as score,
        sum(null_uniform) filter (counts) as null_uniform,
        sum(null_shuffled) filter (counts) as null_shuffled,
        sum(score - null_uniform) filter (counts) as excess_uniform,
        sum(score - null_shuffled) filter (counts) as excess_shuffled,
        list(distinct alignment) as alignments,
        sum(source_coverage) filter (counts) as source_coverage,
        sum(target_coverage) filter (counts) as target_coverage,
        count_if(degenerate and counts) as degenerate,
        count(*) filter (converged) as num_converged,
        count(*) filter (not converged) as num_unconverged
    from judged
    group by all
),
summed as (
    select
        * exclude (
            cluster, n, score, null_uniform, null_shuffled, excess_uniform, excess_shuffled, alignments, source_coverage,
            target_coverage, degenerate, num_converged, num_unconverged
        ),
        sum(n)::bigint as n,
        count_if(n > 0)::bigint as clusters,
        sum(score) / nullif(sum(n), 0) as score,
        sum(null_uniform) / nullif(sum(n), 0) as null_uniform,
        sum(null_shuffled) / nullif(sum(n), 0) as null_shuffled,
        sum(excess_uniform) / nullif(sum(n), 0) as excess_uniform,
        sum(excess_shuffled) / nullif(sum(n), 0) as excess_shuffled,
        list(n::double order by cluster) filter (n > 0) as sizes,
        list(score order by cluster) filter (n > 0) as scores,
        list(excess_uniform order by cluster) filter (n > 0) as excesses_uniform,
        list(excess_shuffled order by cluster) filter (n > 0) as excesses_shuffled,
        array_to_string(list_sort(list_distinct(flatten(list(alignments)))), ', ') as alignment,
        sum(source_coverage) / nullif(sum(n), 0) as source_coverage,
        sum(target_coverage) / nullif(sum(n), 0) as target_coverage,
        sum(degenerate) / nullif(sum(n), 0) as degenerate_share,
        sum(num_converged) / nullif(sum(num_converged + num_unconverged), 0) as converged_share,
        sum(num_unconverged)::bigint as num_unconverged
    from clustered
    group by all
),
erring as (
    select
        *,
        cluster_error(scores, sizes, score, n) as score_se,
        cluster_error(excesses_uniform, sizes, excess_uniform, n) as excess_uniform_se,
        cluster_error(excesses_shuffled, sizes, excess_shuffled, n) as excess_shuffled_se
    from summed
)
select
    model, dataset, split, method, target_policy, output, space, unit, normalization, source_language, target_language,
    variant,
    source_language = target_language as is_self,
    n,
    clusters,
    score,
    score_se,
    cluster_low(score, score_se, clusters, lowest := 0.0) as score_low,
    cluster_high(score, score_se, clusters, highest := 1.0) as score_high,
    null_uniform,
    null_shuffled,
    excess_uniform,
    excess_uniform_se,
    cluster_low(excess_uniform, excess_uniform_se, clusters, lowest := -1.0) as excess_uniform_low,
    cluster_high(excess_uniform, excess_uniform_se, clusters, highest := 1.0) as excess_uniform_high,
    excess_shuffled,
    excess_shuffled_se,
    cluster_low(excess_shuffled, excess_shuffled_se, clusters, lowest := -1.0) as excess_shuffled_low,
    cluster_high(excess_shuffled, excess_shuffled_se, clusters, highest := 1.0) as excess_shuffled_high,
    alignment,
    source_coverage,
    target_coverage,
    degenerate_share,
    converged_share,
    num_unconverged
from erring;
