-- How two metrics go together over language pairs: of one model and dataset, or of all of a study.
-- key: scope, model, dataset, split, metric_a, metric_b
-- source: Pearson and Spearman over the rows of language_pair_scorecard with different languages that have both; metrics that are computed from the same quantity (macro scorecard_metrics) are left out; 95 % intervals: percentiles of 1000 resamples of the pairs (Bayesian bootstrap); p: two-sided, of Spearman's rho: exact, over all orders, up to seven pairs and where rho is 1 or -1, else Student's t; Holm over the pairs of metrics of the same scope; language pairs share languages, so they are less independent than both take them to be
-- kept: whole
-- column scope: model: one model and dataset; study: all of them pooled.
-- column model: Key of the model in the study; NULL for scope study.
-- column dataset: Key of the dataset in the study; NULL for scope study.
-- column split: Part of the dataset; NULL for scope study.
-- column metric_a: One column of language_pair_scorecard.
-- column metric_b: Another one, later in the alphabet.
-- column n: Language pairs that have both.
-- column pearson: Pearson correlation; NULL where a side does not vary.
-- column pearson_low: Lower end of the 95 % interval; NULL for fewer than four pairs, and for a correlation of 1 or -1, where all resamples agree.
-- column pearson_high: Upper end of it.
-- column spearman: Spearman correlation; NULL where a side does not vary.
-- column spearman_low: Lower end of the 95 % interval; NULL as pearson_low.
-- column spearman_high: Upper end of it.
-- column p: p-value of spearman, never 0; NULL for fewer than four pairs.
-- column tests: Correlations of the scope that Holm's correction is over.
-- column holm_p: p after Holm's correction.
-- column converged_share: Mean over the pairs of the share of attributions that converged, where one of the metrics is made from attributions; else NULL.
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
together as (
    select
        a.model, a.dataset, a.split,
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
populations as (
    select struct_pack(scope := 'model', model, dataset, split, metric_a, metric_b) as population, a, b, converged_share
    from together
    union all
    select struct_pack(scope := 'study', model := null, dataset := null, split := null, metric_a, metric_b), a, b, converged_share
    from together
),
ranked as (
    select *, average_rank(population, a) as rank_a, average_rank(population, b) as rank_b from populations
),
lists as (
    select
        population,
        count(*) as n,
        avg(converged_share) as converged_share,
        correlation(a, b) as pearson,
        correlation(rank_a, rank_b) as spearman,
        -- In an order of their own, so that a resample does not depend on the order of the rows.
        list([a, b, a * a, b * b, a * b] order by a, b) as moments,
        list([rank_a, rank_b, rank_a * rank_a, rank_b * rank_b, rank_a * rank_b] order by a, b) as rank_moments,
        list(rank_a order by a, b) as ranks_a,
        list(rank_b order by a, b) as ranks_b
    from ranked
    group by population
),
-- One row per resample: weighted sums of the moments.
drawn as (
    select population, moments, rank_moments, resample_weights(n, draw) as weights
    from lists
    cross join range(1000) as draws(draw)
    where n > 3
),
summed as (
    select
        population,
        list_sum(weights) as w,
        list_transform(range(1, 6), lambda i:
            list_inner_product(list_transform(moments, lambda row: row[i]), weights)) as s,
        list_transform(range(1, 6), lambda i:
            list_inner_product(list_transform(rank_moments, lambda row: row[i]), weights)) as r
    from drawn
),
resampled as (
    select
        population,
        correlation_of_sums(w, s[1], s[2], s[3], s[4], s[5]) as pearson,
        correlation_of_sums(w, r[1], r[2], r[3], r[4], r[5]) as spearman
    from summed
),
intervals as (
    select
        population,
        interval_of(pearson) as pearson_ends,
        interval_of(spearman) as spearman_ends
    from resampled
    group by population
),
-- How far apart the two rankings of few pairs are when one is put into any order: rho is a line of this sum of products.
-- Rankings are the same but for ties, so that few have to be worked out.
shapes as (
    select distinct n, list_sort(ranks_a) as shape_a, list_sort(ranks_b) as shape_b
    from lists
    where n between 4 and 7 and spearman is not null
),
reordered as (
    select
        shape_a,
        shape_b,
        abs(list_inner_product(shape_a, list_transform(places, lambda place: shape_b[place]))
            - n * list_avg(shape_a) * list_avg(shape_b)) as distance,
        count(*) as orders
    from shapes
    join orders_up_to(7) as orders on orders.things = shapes.n
    group by all
),
exact as (
    select
        population,
        sum(orders) filter (
            distance >= abs(list_inner_product(ranks_a, ranks_b) - n * list_avg(ranks_a) * list_avg(ranks_b)) - 1e-9
        ) / sum(orders) as exact_p
    from lists
    join reordered on shape_a = list_sort(ranks_a) and shape_b = list_sort(ranks_b)
    where spearman is not null
    group by population
),
tested as (
    select
        *,
        case
            when n < 4 or spearman is null then null
            when exact_p is not null then exact_p
            when abs(spearman) >= 1 - 1e-12 then least_permutation_p(ranks_b)
            else greatest(
                least_permutation_p(ranks_b), student_p(spearman * sqrt((n - 2) / (1 - spearman * spearman)), n - 2)
            )
        end as p
    from lists
    left join exact using (population)
),
families as (
    select
        population, n, p,
        pearson, spearman, converged_share,
        row(population.scope, population.model, population.dataset, population.split) as family
    from tested
),
gathered as (
    select *, list(p) over (partition by family) as family_p from families
)
select
    population.scope as scope,
    population.model as model,
    population.dataset as dataset,
    population.split as split,
    population.metric_a as metric_a,
    population.metric_b as metric_b,
    n,
    pearson,
    case when abs(pearson) < 1 - 1e-12 then pearson_ends[1] end as pearson_low,
    case when abs(pearson) < 1 - 1e-12 then pearson_ends[2] end as pearson_high,
    spearman,
    case when abs(spearman) < 1 - 1e-12 then spearman_ends[1] end as spearman_low,
    case when abs(spearman) < 1 - 1e-12 then spearman_ends[2] end as spearman_high,
    p,
    list_count(family_p) as tests,
    holm(p, family_p) as holm_p,
    converged_share
from gathered
left join intervals using (population)
