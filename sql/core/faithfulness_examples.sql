-- Faithfulness of one attribution method on one example: the mean over ratios and draws of one definition's score.
-- key: model, dataset, split, language, example_id, method, importance, masking, side, variant
-- source: arXiv 2403.12809, section 3; strict and paper: Suff = 1 - max(0, p(x) - p(R)), Comp = max(0, p(x) - p(x without R)), both normalised by 1 - S0 = max(0, p(x) - p(empty)); published_code: id 0 as the mask and for every token of the empty input, soft masks reversed and after the first normalisation, one draw of random attributions, 1e-4 added to 1 - S0 (the code takes it from S0 again at every ratio and method, here once); eraser: p(x) - p, not clamped and not normalised (DeYoung et al. 2020, eq. 1 and 2)
-- kept: by model, language
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the example; equal across languages in parallel data.
-- column method: Attribution method; random is the floor.
-- column importance: What tokens are ranked by: signed or abs.
-- column mode: hard: whole tokens; soft: parts of word vectors.
-- column masking: What became of tokens not kept.
-- column side: sufficiency or comprehensiveness.
-- column variant: strict, paper, published_code or eraser.
-- column target: The class whose probability counts: the predicted one.
-- column p_full: Probability of it for the whole input.
-- column p_empty: Probability of it with every attributable token removed.
-- column num_attributable: Sub-tokens that can be perturbed.
-- column saturated: 1 - S0 is too small to divide by: below 0.001 (strict), 0 (paper); never for the others.
-- column score: Mean over ratios (AOPC) and draws; higher is more faithful, but for eraser's sufficiency, where lower is; NULL where saturated.
-- column unnormalized: The same without dividing by 1 - S0, as Suff or Comp.
-- column draw_sd: Standard deviation of the score over draws (random attributions, soft masks); NULL for a single draw.
-- column converged: Whether the attributions of the example converged (attribution_runs); NULL for methods without completeness.
-- column cluster: Cluster of the example (examples.cluster): what is resampled.
with
definitions(variant, epsilon, slack, first_draw_only) as (
    values
        ('strict', 0.001, 0.0, false),
        -- One draw of random attributions; soft masks are drawn several times in the paper too.
        ('paper', 0.0, 0.0, true),
        ('published_code', -1.0, 0.0001, true),
        ('eraser', -1.0, 0.0, false)
),
applicable as (
    select perturbations.*, definitions.*
    from perturbations
    join definitions
        on case definitions.variant
            when 'strict' then masking in ('mask', 'pad', 'delete', 'bernoulli')
            when 'paper' then masking in ('mask', 'bernoulli')
            -- Where a model is not of the layout that the code is written for, its baseline is another one.
            when 'published_code' then masking in ('zero_id', 'bernoulli_reversed') and empty_input = 'all'
            else masking in ('mask', 'pad', 'delete')
        end
    where not first_draw_only or repeat = 0 or mode = 'soft'
),
scored as (
    select
        *,
        faithfulness_span(p_full, p_empty) <= epsilon as saturated,
        case
            when variant = 'eraser' then p_full - p_perturbed
            when faithfulness_span(p_full, p_empty) > epsilon
                then normalized_faithfulness(side, p_full, p_perturbed, p_empty, slack)
        end as score,
        case
            when variant = 'eraser' then p_full - p_perturbed
            when side = 'sufficiency' then 1 - perturbation_cost(p_full, p_perturbed)
            else perturbation_cost(p_full, p_perturbed)
        end as unnormalized
    from applicable
),
draws as (
    select
        model, dataset, split, language, example_id, method, importance, mode, masking, side, variant, repeat,
        any_value(target) as target,
        any_value(p_full) as p_full,
        any_value(p_empty) as p_empty,
        any_value(num_attributable) as num_attributable,
        bool_or(saturated) as saturated,
        avg(score) as score,
        avg(unnormalized) as unnormalized
    from scored
    group by all
),
examples_of as (
    select
        model, dataset, split, language, example_id, method, importance, mode, masking, side, variant,
        any_value(target) as target,
        any_value(p_full) as p_full,
        any_value(p_empty) as p_empty,
        any_value(num_attributable) as num_attributable,
        bool_or(saturated) as saturated,
        avg(score) as score,
        avg(unnormalized) as unnormalized,
        stddev_samp(score) as draw_sd
    from draws
    group by all
)
select examples_of.*, converged, coalesce(examples.cluster, examples_of.example_id) as cluster
from examples_of
left join attribution_runs using (model, dataset, split, language, example_id, method, target)
left join examples using (dataset, split, language, example_id)
