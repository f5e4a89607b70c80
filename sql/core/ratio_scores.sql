-- A score of one model on one dataset, split and language that is a ratio of sums over examples.
-- key: model, dataset, split, language, metric, variant
-- source: sums of example_scores; intervals and errors take clusters (examples.cluster) and not examples as independent: jackknife by cluster, Student's t, none below ten clusters. A share of examples (exact match) has Wilson's interval at the effective sample size, which is right at 0 and 1 too, and so has, over its clusters, every score that all of them agree on. Examples without a number are left out
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column task: Task of the dataset.
-- column metric: token_accuracy, span_f1, exact_match or f1.
-- column variant: As in example_scores.
-- column value: The score, a share.
-- column ci_low: Lower end of the 95 % interval; NULL below ten clusters.
-- column ci_high: Upper end of the same interval.
-- column standard_error: Standard error of the score by clusters; NULL where all agree.
-- column n: Examples scored.
-- column clusters: Clusters of examples that share a text.
-- column num_units: What the score is out of: words, gold and predicted entities, or questions.
-- column num_classes: Tags that the model chooses among; NULL for answers.
-- column chance: Expected score of guessing uniformly among the tags; NULL where guessing is not defined.
-- column num_truncated: Scored examples whose input was cut because it was too long.
-- column interval: wilson or jackknife.
with
clustered as (
    select
        struct_pack(model, dataset, split, language, task, metric, variant) as evaluation,
        cluster,
        sum(numerator) as numerator,
        sum(denominator) as denominator,
        count(*) as examples,
        count_if(truncated) as truncated,
        max(num_classes) as num_classes
    from example_scores
    where isfinite(numerator) and isfinite(denominator)
    group by evaluation, cluster
),
evaluations as (
    select
        evaluation,
        list(numerator order by cluster) as numerators,
        list(denominator order by cluster) as denominators,
        sum(numerator) / sum(denominator) as value,
        sum(examples)::bigint as n,
        -- Those with something to score: of entities, not every sentence has one.
        count_if(denominator > 0)::bigint as clusters,
        sum(denominator)::bigint as num_units,
        sum(truncated)::bigint as num_truncated,
        max(num_classes) as num_classes
    from clustered
    group by evaluation
    having sum(denominator) > 0
),
erring as (
    select
        *,
        cluster_error(numerators, denominators, value, num_units) as standard_error,
        evaluation.metric = 'exact_match' or standard_error is null as is_share
    from evaluations
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
    case when is_share then cluster_share_low(value, standard_error, clusters, n, most := n)
        else cluster_low(value, standard_error, clusters, lowest := 0.0) end as ci_low,
    case when is_share then cluster_share_high(value, standard_error, clusters, n, most := n)
        else cluster_high(value, standard_error, clusters, highest := 1.0) end as ci_high,
    standard_error,
    n,
    clusters,
    num_units,
    num_classes,
    case when evaluation.metric = 'token_accuracy' then 1 / num_classes end as chance,
    num_truncated,
    case when is_share then 'wilson' else 'jackknife' end as interval
from erring
