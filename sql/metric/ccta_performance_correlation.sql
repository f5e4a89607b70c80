-- Correlation of consistency (CCTA) with task performance, over target languages or over all cells of a study.
-- key: scope, model, source_language, dataset, split, method, target_policy, output, space, unit, normalization, measure, cells, variant
-- source: Pearson: corr, interval by Fisher's z with 1 / sqrt(n - 3); Spearman: the same on ranks, ties sharing their mean, with variance (1 + r^2 / 2) / (n - 3) (Bonett and Wright 2000)
-- kept: whole
-- column scope: model: the target languages of one model and source language; study: all models and source languages pooled.
-- column model: Key of the model in the study; NULL for scope study.
-- column source_language: Language whose prediction and attributions are the reference; NULL for scope study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column method: Attribution method.
-- column target_policy: How the class was chosen: source_prediction, own_prediction or gold.
-- column output: As in ccta.
-- column space: Shared space of the similarities, as the study names it.
-- column unit: What mass sits on: word or token.
-- column normalization: Signed attributions to weights: abs, relu, min_max or softmax.
-- column measure: What is correlated with the target language's performance: score, excess_uniform or excess_shuffled.
-- column cells: all: with the self pairs; off_diagonal: without them.
-- column variant: As in ccta.
-- column metric: The measure of performance: accuracy of classes, f1 of answers.
-- column n: Cells, each a model, a source and a target language.
-- column pearson: Pearson correlation; NULL where a side does not vary.
-- column pearson_low: Lower end of the 95 % interval; NULL for fewer than four cells and for a correlation of 1 or -1.
-- column pearson_high: Upper end of it.
-- column spearman: Spearman correlation; NULL where a side does not vary.
-- column spearman_low: Lower end of the 95 % interval; NULL for fewer than four cells and for a correlation of 1 or -1.
-- column spearman_high: Upper end of it.
-- column converged_share: Mean over the cells of ccta.converged_share.
-- column num_unconverged: Pairs behind them of which a side did not converge: left out of strict.
with
measured as (
    from ccta unpivot (consistency for measure in (score, excess_uniform, excess_shuffled))
),
scored as (
    select
        measured.*,
        task_scores.metric,
        task_scores.value as performance
    from measured
    join task_scores
        on task_scores.model = measured.model
        and task_scores.dataset = measured.dataset
        and task_scores.split = measured.split
        and task_scores.language = measured.target_language
    where task_scores.metric in ('accuracy', 'f1') and task_scores.variant = 'strict' and isfinite(task_scores.value)
),
scoped as (
    select * from (select 'model' as scope, * from scored)
    union all
    select 'study' as scope, * replace (null as model, null as source_language) from scored
),
-- `population` is what one correlation is over.
populations as (
    select
        struct_pack(
            scope, model, source_language, dataset, split, method, target_policy, output, space, unit, normalization,
            measure, cells, variant, metric
        ) as population,
        consistency,
        performance,
        converged_share,
        num_unconverged
    from scoped
    cross join (values ('all'), ('off_diagonal')) as selection(cells)
    where cells = 'all' or not is_self
),
ranked as (
    select
        *,
        average_rank(population, consistency) as consistency_rank,
        average_rank(population, performance) as performance_rank
    from populations
),
correlations as (
    select
        population,
        count(*) as n,
        correlation(consistency, performance) as pearson,
        correlation(consistency_rank, performance_rank) as spearman,
        avg(converged_share) as converged_share,
        sum(num_unconverged)::bigint as num_unconverged
    from ranked
    group by population
)
select
    population.scope as scope,
    population.model as model,
    population.source_language as source_language,
    population.dataset as dataset,
    population.split as split,
    population.method as method,
    population.target_policy as target_policy,
    population.output as output,
    population.space as space,
    population.unit as unit,
    population.normalization as normalization,
    population.measure as measure,
    population.cells as cells,
    population.variant as variant,
    population.metric as metric,
    n,
    pearson,
    pearson_low(pearson, n) as pearson_low,
    pearson_high(pearson, n) as pearson_high,
    spearman,
    spearman_low(spearman, n) as spearman_low,
    spearman_high(spearman, n) as spearman_high,
    converged_share,
    num_unconverged
from correlations
