-- Two numbers of a pair of languages that a correlation is over: points of metric_correlations and ccta_performance_correlation.
-- key: population, stratum, source_language, target_language
-- source: metric_correlations: columns of language_pair_scorecard that are computed from different quantities (macro scorecard_metrics), for pairs of different languages; ccta_performance_correlation: ccta and task_scores of the target language
-- kept: whole
-- column population: What one correlation is over: a value of the key of the view that shows it.
-- column stratum: Model, dataset and part of it: levels differ between them, so correlations are within.
-- column source_language: One language of the pair.
-- column target_language: The other one.
-- column a: The first number.
-- column b: The second one.
-- column converged_share: Share of the attributions behind them that converged; NULL where there are none.
-- column num_unconverged: Attributions behind them that did not: left out of strict, kept in the other variants; NULL for metric_correlations.
with
measured as (
    from (
        select
            model, dataset, split, source_language, target_language,
            target_score, transfer_gap, ccta, ccta_excess, calign_best, calign_last, colap_best, colap_last,
            head_rho, pruning_gain, faithfulness_difference, fertility_difference, converged_share
        from language_pair_scorecard
        where source_language <> target_language
    )
    unpivot (value for metric in (
        target_score, transfer_gap, ccta, ccta_excess, calign_best, calign_last, colap_best, colap_last,
        head_rho, pruning_gain, faithfulness_difference, fertility_difference
    ))
),
made as (
    select * from measured join scorecard_metrics() using (metric) where isfinite(value)
),
metrics as (
    select
        a.model, a.dataset, a.split, a.source_language, a.target_language,
        a.metric as metric_a, b.metric as metric_b, a.value as a, b.value as b,
        case when list_has_any(list_concat(a.made_from, b.made_from), ['ccta', 'faithfulness']) then a.converged_share end
            as converged_share
    from made as a
    join made as b
        on not list_has_any(a.made_from, b.made_from)
        and a.model = b.model and a.dataset is not distinct from b.dataset and a.split is not distinct from b.split
        and a.source_language = b.source_language and a.target_language = b.target_language
        and a.metric < b.metric
),
consistencies as (
    from ccta unpivot (consistency for measure in (score, excess_uniform, excess_shuffled))
),
performances as (
    select
        consistencies.*,
        task_scores.metric,
        task_scores.value as performance
    from consistencies
    join task_scores
        on task_scores.model = consistencies.model
        and task_scores.dataset = consistencies.dataset
        and task_scores.split = consistencies.split
        and task_scores.language = consistencies.target_language
    where task_scores.metric in ('accuracy', 'f1') and task_scores.variant = 'strict'
        and isfinite(task_scores.value) and isfinite(consistency)
)
select
    struct_pack(
        scope := scope,
        model := case when scope = 'model' then model end,
        source_language := null::varchar,
        dataset := case when scope = 'model' then dataset end,
        split := case when scope = 'model' then split end,
        method := null::varchar, target_policy := null::varchar, output := null::varchar, space := null::varchar,
        unit := null::varchar, normalization := null::varchar, variant := null::varchar,
        metric_a, metric_b, cells := 'off_diagonal'
    ) as population,
    struct_pack(model, dataset, split) as stratum,
    source_language, target_language, a, b, converged_share,
    null::bigint as num_unconverged
from metrics
cross join (values ('model'), ('study')) as scopes(scope)
union all
select
    struct_pack(
        scope := scope,
        model := case when scope = 'model' then model end,
        source_language := case when scope = 'model' then source_language end,
        dataset, split, method, target_policy, output, space, unit, normalization, variant,
        metric_a := measure, metric_b := metric, cells
    ),
    struct_pack(model, dataset, split),
    source_language, target_language, consistency, performance, converged_share, num_unconverged
from performances
cross join (values ('model'), ('study')) as scopes(scope)
cross join (values ('all'), ('off_diagonal')) as selection(cells)
where cells = 'all' or not is_self
