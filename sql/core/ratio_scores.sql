-- A score of one model on one dataset, split and language that is a ratio of sums over examples.
-- key: model, dataset, split, language, metric, variant
-- source: sums of example_scores; bootstrap over examples (sentences, questions), percentiles of 1000 resamples of bootstrap_weights; of more than 400 examples, 400 blocks of them dealt by a hash of the id (random groups, Wolter 2007, ch. 2) are resampled. A share of examples (exact match) has Wilson's interval, which is right at 0 and 1 too, and so has, over its examples, every score that all resamples agree on. Examples without a number are left out
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column task: Task of the dataset.
-- column metric: token_accuracy, span_f1, exact_match or f1.
-- column variant: As in example_scores.
-- column value: The score, a share.
-- column ci_low: Lower end of the 95 % interval.
-- column ci_high: Upper end of the same interval.
-- column standard_error: Standard deviation of the resampled scores; NULL where all agree.
-- column n: Examples scored.
-- column num_units: What the score is out of: words, gold and predicted entities, or questions.
-- column num_classes: Tags that the model chooses among; NULL for answers.
-- column chance: Expected score of guessing uniformly among the tags; NULL where guessing is not defined.
-- column num_truncated: Scored examples whose input was cut because it was too long.
-- column interval: wilson or bootstrap.
with
dealt as (
    select
        struct_pack(model, dataset, split, language, task, metric, variant) as evaluation,
        numerator, denominator, truncated, num_classes,
        (row_number() over (
            partition by model, dataset, split, language, metric, variant order by hash(example_id), example_id
        ) - 1) % 400 as block
    from example_scores
    where isfinite(numerator) and isfinite(denominator)
),
blocks as (
    select
        evaluation, block,
        sum(numerator) as numerator,
        sum(denominator) as denominator,
        count(*) as examples,
        count_if(truncated) as truncated,
        max(num_classes) as num_classes
    from dealt
    group by evaluation, block
),
evaluations as (
    select
        evaluation,
        list(numerator order by block) as numerators,
        list(denominator order by block) as denominators,
        sum(numerator) / sum(denominator) as value,
        sum(examples)::bigint as n,
        sum(denominator)::bigint as num_units,
        sum(truncated)::bigint as num_truncated,
        max(num_classes) as num_classes
    from blocks
    group by evaluation
    having sum(denominator) > 0
),
resampled as (
    select
        evaluation,
        resample,
        list_inner_product(numerators, list_slice(weights, 1, len(numerators)))
        / list_inner_product(denominators, list_slice(weights, 1, len(denominators))) as value
    from evaluations
    cross join bootstrap_weights
),
spread as (
    select
        evaluation,
        quantile_cont(value, 0.025) as low,
        quantile_cont(value, 0.975) as high,
        -- In a fixed order: the last digits of a sum depend on it.
        stddev_samp(value order by resample) as standard_error
    from resampled
    where isfinite(value)
    group by evaluation
),
shares as (
    -- Where all examples score alike the bootstrap has no width.
    select
        *,
        not coalesce(high - low > 1e-12, false) as is_flat,
        evaluation.metric = 'exact_match' or is_flat as is_share
    from evaluations
    left join spread using (evaluation)
)
select
    evaluation.model as model,
    evaluation.dataset as dataset,
    evaluation.split as split,
    evaluation.language as language,
    evaluation.task as task,
    evaluation.metric as metric,
    evaluation.variant as variant,
    value,
    case when is_share then wilson_low(value * n, n) else low end as ci_low,
    case when is_share then wilson_high(value * n, n) else high end as ci_high,
    case when is_flat then null else standard_error end as standard_error,
    n,
    num_units,
    num_classes,
    case when evaluation.metric = 'token_accuracy' then 1 / num_classes end as chance,
    num_truncated,
    case when is_share then 'wilson' else 'bootstrap' end as interval
from shares
