-- Accuracy or macro-F1 of one model on one dataset, split and language whose whole examples are classified.
-- key: model, dataset, split, language, metric, variant
-- source: intervals and errors take clusters (examples.cluster) and not examples as independent, none below ten clusters; accuracy = correct / n; macro-F1 = mean over classes of 2 TP_c / (gold_c + predicted_c), over the classes that occur as gold or predicted label, from the examples whose gold label is known
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column task: Task of the dataset.
-- column metric: accuracy or macro_f1.
-- column variant: strict: examples without a gold label are left out, truncated ones are scored and counted.
-- column value: The score, a share.
-- column ci_low: Lower end of the 95 % interval: Wilson's at the effective sample size; NULL below ten clusters.
-- column ci_high: Upper end of the same interval.
-- column standard_error: Standard error of the score by clusters; for macro-F1 of its influence function (delta method); NULL where the clusters show no spread.
-- column n: Examples scored.
-- column clusters: Clusters of examples that share a text.
-- column num_classes: Classes that the model chooses among.
-- column chance: Expected score of guessing uniformly among these classes.
-- column num_truncated: Scored examples whose input was cut because it was too long.
with
scored as (
    select
        struct_pack(model, dataset, split, language) as evaluation,
        coalesce(examples.cluster, example_id) as cluster,
        predictions.task as task, predictions.label as label, predicted, logits, num_truncated
    from predictions
    left join examples using (dataset, split, language, example_id)
    where predictions.label is not null and predictions.task in ('sequence_classification', 'sentence_pair')
),
-- The confusion matrix: everything below is arithmetic on its cells. `evaluation` is what one score is of.
cells as (
    select
        evaluation,
        label,
        predicted,
        any_value(task) as task,
        nullif(any_value(len(logits)), 0) as num_classes,
        count(*) as examples,
        count_if(num_truncated > 0) as truncated
    from scored
    group by evaluation, label, predicted
),
totals as (
    select
        evaluation,
        any_value(task) as task,
        max(num_classes) as num_classes,
        sum(examples)::bigint as n,
        sum(truncated)::bigint as num_truncated,
        coalesce(sum(examples) filter (label = predicted), 0)::bigint as correct
    from cells
    group by evaluation
),
margins as (
    select evaluation, label as class, examples, examples as gold, 0 as hit from cells
    union all
    select evaluation, predicted, examples, 0, case when label = predicted then examples else 0 end from cells
),
classes as (
    select
        evaluation,
        class,
        sum(gold) as gold,
        sum(examples) as gold_plus_predicted,
        2 * sum(hit) / sum(examples) as f1
    from margins
    group by evaluation, class
),
macro_f1 as (
    select
        evaluation,
        avg(f1) as value,
        count(*) as num_present,
        -- A uniform guess finds 1/C of each class: F1_c = 2 r_c / (C r_c + 1) at the class's share r_c.
        avg(2 * gold / (num_classes * gold + n)) as chance
    from classes
    join totals using (evaluation)
    group by evaluation
),
-- What one example of a cell adds to the linearised macro-F1; its mean over the examples is 0.
influences as (
    select
        evaluation,
        label,
        predicted,
        n / num_present * (
            case when label = predicted then 2 / by_label.gold_plus_predicted else 0 end
            - by_label.f1 / by_label.gold_plus_predicted
            - by_predicted.f1 / by_predicted.gold_plus_predicted
        ) as influence
    from cells
    join totals using (evaluation)
    join macro_f1 using (evaluation)
    join (select evaluation, class as label, f1, gold_plus_predicted from classes) as by_label
        using (evaluation, label)
    join (select evaluation, class as predicted, f1, gold_plus_predicted from classes) as by_predicted
        using (evaluation, predicted)
),
-- What an example of each cell adds, summed up by cluster.
clustered as (
    select
        evaluation,
        cluster,
        count(*)::double as examples,
        count_if(label = predicted)::double as correct,
        sum(influence) as influence
    from scored
    join influences using (evaluation, label, predicted)
    group by evaluation, cluster
),
errors as (
    select
        evaluation,
        count(*)::bigint as clusters,
        cluster_error(
            list(correct order by cluster), list(examples order by cluster), sum(correct) / sum(examples), sum(examples)
        ) as accuracy_error,
        cluster_error(list(influence order by cluster), list(examples order by cluster), 0.0, sum(examples)) as macro_f1_error
    from clustered
    group by evaluation
),
scores as (
    select evaluation, 'accuracy' as metric, correct / n as value, 1 / num_classes as chance, accuracy_error as standard_error
    from totals
    join errors using (evaluation)
    union all
    select evaluation, 'macro_f1', value, chance, macro_f1_error
    from macro_f1
    join errors using (evaluation)
),
sized as (
    select
        scores.*, totals.* exclude (evaluation), clusters,
        -- A macro-F1 may vary less than a share of as many examples.
        case when metric = 'accuracy' then n end as most
    from scores
    join totals using (evaluation)
    join errors using (evaluation)
)
select
    evaluation.model as model,
    evaluation.dataset as dataset,
    evaluation.split as split,
    evaluation.language as language,
    task,
    metric,
    'strict' as variant,
    value,
    cluster_share_low(value, standard_error, clusters, n, most := most) as ci_low,
    cluster_share_high(value, standard_error, clusters, n, most := most) as ci_high,
    standard_error,
    n,
    clusters,
    num_classes,
    chance,
    num_truncated
from sized
