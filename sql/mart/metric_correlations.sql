-- How two metrics go together over language pairs: of one model and dataset, or of all of a study.
-- key: scope, model, dataset, split, metric_a, metric_b
-- source: Pearson and Spearman over the rows of language_pair_scorecard with different languages that have both; 95 % intervals: percentiles of 1000 resamples of the pairs (Bayesian bootstrap); p: two-sided Student's t of Spearman's rho, Holm over the pairs of metrics of the same scope; language pairs share languages, so they are less independent than both take them to be
-- column scope: model: one model and dataset; study: all of them pooled.
-- column model: Key of the model in the study; NULL for scope study.
-- column dataset: Key of the dataset in the study; NULL for scope study.
-- column split: Part of the dataset; NULL for scope study.
-- column metric_a: One column of language_pair_scorecard.
-- column metric_b: Another one, later in the alphabet.
-- column n: Language pairs that have both.
-- column pearson: Pearson correlation; NULL where a side does not vary.
-- column pearson_low: Lower end of the 95 % interval; NULL for fewer than four pairs.
-- column pearson_high: Upper end of it.
-- column spearman: Spearman correlation; NULL where a side does not vary.
-- column spearman_low: Lower end of the 95 % interval; NULL for fewer than four pairs.
-- column spearman_high: Upper end of it.
-- column p: p-value of spearman; NULL for fewer than four pairs.
-- column tests: Correlations of the scope that Holm's correction is over.
-- column holm_p: p after Holm's correction.
with
measured as (
    from (
        select
            model, dataset, split, source_language, target_language,
            target_score, transfer_gap, ccta, ccta_excess, calign_best, calign_last, colap_best, colap_last,
            head_rho, pruning_gain, faithfulness_difference, fertility_difference
        from language_pair_scorecard
        where source_language <> target_language
    )
    unpivot (value for metric in (
        target_score, transfer_gap, ccta, ccta_excess, calign_best, calign_last, colap_best, colap_last,
        head_rho, pruning_gain, faithfulness_difference, fertility_difference
    ))
),
together as (
    select
        a.model, a.dataset, a.split,
        a.metric as metric_a, b.metric as metric_b, a.value as a, b.value as b
    from measured as a
    join measured as b
        on a.model = b.model and a.dataset is not distinct from b.dataset and a.split is not distinct from b.split
        and a.source_language = b.source_language and a.target_language = b.target_language
        and a.metric < b.metric
),
populations as (
    select struct_pack(scope := 'model', model, dataset, split, metric_a, metric_b) as population, a, b from together
    union all
    select struct_pack(scope := 'study', model := null, dataset := null, split := null, metric_a, metric_b), a, b
    from together
),
ranked as (
    select *, average_rank(population, a) as rank_a, average_rank(population, b) as rank_b from populations
),
lists as (
    select
        population,
        count(*) as n,
        correlation(a, b) as pearson,
        correlation(rank_a, rank_b) as spearman,
        -- In an order of their own, so that a resample does not depend on the order of the rows.
        list([a, b, a * a, b * b, a * b] order by a, b) as moments,
        list([rank_a, rank_b, rank_a * rank_a, rank_b * rank_b, rank_a * rank_b] order by a, b) as rank_moments
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
        quantile_cont(pearson, 0.025) as pearson_low,
        quantile_cont(pearson, 0.975) as pearson_high,
        quantile_cont(spearman, 0.025) as spearman_low,
        quantile_cont(spearman, 0.975) as spearman_high
    from resampled
    group by population
),
tested as (
    select
        *,
        case
            when n > 3 then
                if(abs(spearman) >= 1, 0.0, student_p(spearman * sqrt((n - 2) / (1 - spearman * spearman)), n - 2))
        end as p
    from lists
),
families as (
    select
        population, n, p,
        pearson, spearman,
        row(population.scope, population.model, population.dataset, population.split) as family
    from tested
),
ordered as (
    select
        *,
        count(p) over (partition by family) as tests,
        row_number() over (partition by family order by p nulls last, population) as place
    from families
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
    if(pearson is null, null, pearson_low) as pearson_low,
    if(pearson is null, null, pearson_high) as pearson_high,
    spearman,
    if(spearman is null, null, spearman_low) as spearman_low,
    if(spearman is null, null, spearman_high) as spearman_high,
    p,
    tests,
    if(p is null, null, least(1.0, max((tests - place + 1) * p) over (partition by family order by place))) as holm_p
from ordered
left join intervals using (population)
