-- Faithfulness of a multilingual model minus that of its monolingual counterparts: per cell, per method, and over all cells.
-- key: origin, scope, multilingual_model, monolingual_model, dataset, split, language, method, importance, masking, side, variant
-- source: disparity = ratio(multilingual) - ratio(monolingual), arXiv 2403.12809, section 4; p_value: two-sided paired t-test over cells; 95 % intervals: percentiles of 2000 resamples of the cells (Bayesian bootstrap); rows of origin `published` work the paper's numbers through the same lines
-- kept: whole
-- column origin: measured: in this warehouse; published: by the paper.
-- column scope: cell: one dataset, language and method; method: all datasets and languages; all: all methods too.
-- column multilingual_model: Key of the multilingual model, or its name in the paper; but for scope cell, the model that it was fine-tuned from (pretrained_models), over all its fine-tunes.
-- column monolingual_model: Its counterpart; NULL but for scope cell.
-- column dataset: Key of the dataset; NULL but for scope cell.
-- column split: Part of the dataset; NULL but for scope cell, and for published.
-- column language: Language code; NULL but for scope cell.
-- column method: Attribution method; NULL for scope all.
-- column importance: What tokens are ranked by.
-- column mode: hard or soft.
-- column masking: What became of tokens not kept.
-- column side: sufficiency or comprehensiveness.
-- column variant: As in faithfulness.
-- column n: Cells.
-- column multilingual_ratio: Mean over cells of the multilingual model's score over that of random attributions.
-- column monolingual_ratio: The same of the counterparts.
-- column disparity: multilingual_ratio - monolingual_ratio; above 0 the multilingual model's attributions are more faithful.
-- column disparity_low: Lower end of the 95 % interval over cells; NULL for one cell, and where all cells agree.
-- column disparity_high: Upper end of it.
-- column t: Paired t statistic; NULL for one cell.
-- column p_value: Two-sided p-value of it with n - 1 degrees of freedom; cells are taken as independent, which methods on the same data are not; NULL where they all differ alike.
-- column converged_share: Mean over cells and both models of the share of attributions that converged (faithfulness); NULL where no method has completeness.
-- column num_unconverged: Those of both models that did not: left out of strict, kept in the other variants; NULL for published.
with
cells as (
    select
        multilingual.origin,
        multilingual.model as multilingual_model,
        coalesce(pretrained, multilingual.model) as encoder,
        monolingual.model as monolingual_model,
        multilingual.dataset,
        multilingual.split,
        multilingual.language,
        multilingual.method,
        multilingual.importance,
        multilingual.mode,
        multilingual.masking,
        multilingual.side,
        multilingual.variant,
        multilingual.ratio as multilingual_ratio,
        monolingual.ratio as monolingual_ratio,
        list_avg([multilingual.converged_share, monolingual.converged_share]) as converged_share,
        multilingual.num_unconverged + monolingual.num_unconverged as num_unconverged
    from faithfulness_ratios as multilingual
    join faithfulness_ratios as monolingual
        on monolingual.origin = multilingual.origin
        and monolingual.pair = multilingual.pair
        and monolingual.dataset = multilingual.dataset
        and monolingual.split is not distinct from multilingual.split
        and monolingual.language = multilingual.language
        and monolingual.method = multilingual.method
        and monolingual.importance = multilingual.importance
        and monolingual.masking = multilingual.masking
        and monolingual.side = multilingual.side
        and monolingual.variant = multilingual.variant
    left join pretrained_models
        on multilingual.origin = 'measured' and pretrained_models.model = multilingual.model
    where multilingual.kind = 'multilingual' and monolingual.kind = 'monolingual'
),
scoped as (
    select 'cell' as scope, * exclude (encoder) from cells
    union all
    select 'method' as scope,
        * exclude (encoder) replace (
            encoder as multilingual_model, null as monolingual_model, null as dataset, null as split, null as language
        )
    from cells
    union all
    select 'all' as scope,
        * exclude (encoder) replace (
            encoder as multilingual_model, null as monolingual_model, null as dataset, null as split, null as language,
            null as method
        )
    from cells
),
summaries as (
    select
        origin, scope, multilingual_model, monolingual_model, dataset, split, language, method, importance, mode, masking,
        side, variant,
        count(*)::bigint as n,
        avg(multilingual_ratio) as multilingual_ratio,
        avg(monolingual_ratio) as monolingual_ratio,
        avg(multilingual_ratio - monolingual_ratio) as disparity,
        stddev_samp(multilingual_ratio - monolingual_ratio) as disparity_sd,
        list(multilingual_ratio - monolingual_ratio order by multilingual_ratio, monolingual_ratio) as disparities,
        avg(converged_share) as converged_share,
        sum(num_unconverged)::bigint as num_unconverged
    from scoped
    group by all
),
resamples as (
    select n, resample_weights(n, draw) as weights, list_sum(weights) as total
    from (select distinct n from summaries where n > 1)
    cross join range(2000) as draws(draw)
),
intervals as (
    select
        origin, scope, multilingual_model, method, importance, masking, side, variant,
        interval_of(finite(list_inner_product(case when is_complete(disparities) then disparities end, weights) / total)) as ends
    from summaries
    join resamples using (n)
    where scope <> 'cell'
    group by all
)
select
    summaries.origin, summaries.scope, summaries.multilingual_model, monolingual_model, dataset, split, language,
    summaries.method, summaries.importance, mode, summaries.masking, summaries.side, summaries.variant,
    n,
    multilingual_ratio,
    monolingual_ratio,
    disparity,
    ends[1] as disparity_low,
    ends[2] as disparity_high,
    case when has_spread(disparity, disparity_sd) then disparity / (disparity_sd / sqrt(n)) end as t,
    case when has_spread(disparity, disparity_sd) then student_p(disparity / (disparity_sd / sqrt(n)), n - 1) end as p_value,
    converged_share,
    num_unconverged
from summaries
left join intervals
    on intervals.origin = summaries.origin
    and intervals.scope = summaries.scope
    and intervals.multilingual_model = summaries.multilingual_model
    and intervals.method is not distinct from summaries.method
    and intervals.importance = summaries.importance
    and intervals.masking = summaries.masking
    and intervals.side = summaries.side
    and intervals.variant = summaries.variant
