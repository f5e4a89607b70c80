-- Correlation of the faithfulness disparity with how differently the two models' tokenizers cut the text.
-- key: origin, multilingual_model, method, importance, masking, side, variant, measure
-- source: arXiv 2403.12809, section on tokenization; Pearson with Fisher's interval, Spearman with Bonett and Wright's; one point is a dataset and language
-- kept: whole
-- column origin: measured: in this warehouse; published: by the paper.
-- column multilingual_model: Key of the multilingual model, or its name in the paper; NULL: all of them together.
-- column method: Attribution method; NULL: the mean over methods, so that points stay independent.
-- column importance: What tokens are ranked by.
-- column mode: hard or soft.
-- column masking: What became of tokens not kept.
-- column side: sufficiency or comprehensiveness.
-- column variant: As in faithfulness.
-- column measure: What differs, multilingual minus monolingual: fertility, splitting_ratio or unknown_ratio.
-- column n: Points: pairs of models on a dataset in a language.
-- column pearson: Pearson correlation of the two differences; NULL where one does not vary.
-- column pearson_low: Lower end of the 95 % interval; NULL for fewer than four points and for a correlation of 1 or -1.
-- column pearson_high: Upper end of it.
-- column spearman: Spearman correlation; NULL where one does not vary.
-- column spearman_low: Lower end of the 95 % interval; NULL for fewer than four points and for a correlation of 1 or -1.
-- column spearman_high: Upper end of it.
-- column converged_share: Mean over the points of faithfulness_disparity.converged_share.
-- column num_unconverged: Attributions behind them that did not converge: left out of strict, kept in the other variants; NULL for published.
with
tokenizations as (
    select 'measured' as origin, model, dataset, split, language, measure, value
    from fertility unpivot (value for measure in (fertility, splitting_ratio, unknown_ratio))
    union all
    select 'published', model, dataset, null, language, metric, value
    from published_results
    where paper = 'faithfulness' and metric in ('fertility', 'unknown_ratio')
),
points as (
    select
        cells.*,
        multilingual.measure,
        multilingual.value - monolingual.value as tokenization_difference
    from faithfulness_disparity as cells
    join tokenizations as multilingual
        on multilingual.origin = cells.origin
        and multilingual.model = cells.multilingual_model
        and multilingual.dataset = cells.dataset
        and multilingual.split is not distinct from cells.split
        and multilingual.language = cells.language
    join tokenizations as monolingual
        on monolingual.origin = cells.origin
        and monolingual.model = cells.monolingual_model
        and monolingual.dataset = cells.dataset
        and monolingual.split is not distinct from cells.split
        and monolingual.language = cells.language
        and monolingual.measure = multilingual.measure
    where cells.scope = 'cell'
),
-- `population` is what one correlation is over; a point is one dataset and language of one pair of models.
populations as (
    select
        struct_pack(
            origin, multilingual_model := model_scope, method := method_scope, importance, mode, masking, side, variant,
            measure
        ) as population,
        avg(disparity) as disparity,
        avg(tokenization_difference) as tokenization_difference,
        avg(converged_share) as converged_share,
        sum(num_unconverged)::bigint as num_unconverged
    from points
    cross join lateral (values (multilingual_model), (null)) as model_scopes(model_scope)
    cross join lateral (values (method), (null)) as method_scopes(method_scope)
    group by population, multilingual_model, monolingual_model, dataset, split, language
),
ranked as (
    select
        *,
        average_rank(population, disparity) as disparity_rank,
        average_rank(population, tokenization_difference) as difference_rank
    from populations
),
correlations as (
    select
        population,
        count(*) as n,
        correlation(disparity, tokenization_difference) as pearson,
        correlation(disparity_rank, difference_rank) as spearman,
        avg(converged_share) as converged_share,
        sum(num_unconverged)::bigint as num_unconverged
    from ranked
    group by population
)
select
    population.origin as origin,
    population.multilingual_model as multilingual_model,
    population.method as method,
    population.importance as importance,
    population.mode as mode,
    population.masking as masking,
    population.side as side,
    population.variant as variant,
    population.measure as measure,
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
