-- Consistency of token attributions over parallel pairs; a row as in the view `ccta`, which is this. With
-- keep_unconverged, variant `paper`: the pairs of which a side did not converge count too.
create macro ccta_at(keep_unconverged := false) as table
with
pairs as (
    select
        ccta_pairs.*,
        both_converged(source_run.converged, target_run.converged) as converged
    from ccta_pairs
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
moments as (
    select
        model, dataset, split, method, target_policy,
        -- The ends of an answer are scores of their own; all classes are one.
        case when target in ('start', 'end') then target else 'class' end as output,
        space, unit, normalization, source_language, target_language, variant,
        count_if(counts)::bigint as n,
        avg(score) filter (counts) as score,
        stddev_samp(score) filter (counts) as score_sd,
        avg(null_uniform) filter (counts) as null_uniform,
        avg(null_shuffled) filter (counts) as null_shuffled,
        avg(score - null_uniform) filter (counts) as excess_uniform,
        stddev_samp(score - null_uniform) filter (counts) as excess_uniform_sd,
        avg(score - null_shuffled) filter (counts) as excess_shuffled,
        stddev_samp(score - null_shuffled) filter (counts) as excess_shuffled_sd,
        string_agg(distinct alignment, ', ' order by alignment) as alignment,
        avg(source_coverage) filter (counts) as source_coverage,
        avg(target_coverage) filter (counts) as target_coverage,
        avg(degenerate::int) filter (counts) as degenerate_share,
        avg(converged::int) as converged_share,
        (count(*) filter (not converged))::bigint as num_unconverged
    from judged
    group by all
)
select
    model, dataset, split, method, target_policy, output, space, unit, normalization, source_language, target_language,
    variant,
    source_language = target_language as is_self,
    n,
    score,
    case when has_spread(score, score_sd) then score_sd / sqrt(n) end as score_se,
    normal_low(score, score_sd, n, lowest := 0.0) as score_low,
    normal_high(score, score_sd, n, highest := 1.0) as score_high,
    null_uniform,
    null_shuffled,
    excess_uniform,
    case when has_spread(excess_uniform, excess_uniform_sd) then excess_uniform_sd / sqrt(n) end as excess_uniform_se,
    normal_low(excess_uniform, excess_uniform_sd, n, lowest := -1.0) as excess_uniform_low,
    normal_high(excess_uniform, excess_uniform_sd, n, highest := 1.0) as excess_uniform_high,
    excess_shuffled,
    case when has_spread(excess_shuffled, excess_shuffled_sd) then excess_shuffled_sd / sqrt(n) end as excess_shuffled_se,
    normal_low(excess_shuffled, excess_shuffled_sd, n, lowest := -1.0) as excess_shuffled_low,
    normal_high(excess_shuffled, excess_shuffled_sd, n, highest := 1.0) as excess_shuffled_high,
    alignment,
    source_coverage,
    target_coverage,
    degenerate_share,
    converged_share,
    num_unconverged
from moments;
