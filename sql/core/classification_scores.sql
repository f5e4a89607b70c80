-- Accuracy or macro-F1 of one model on one dataset, split and language whose whole examples are classified.
-- key: model, dataset, split, language, metric, variant
-- source: accuracy = correct / n; macro-F1 = mean over classes of 2 TP_c / (gold_c + predicted_c), over the classes that occur as gold or predicted label, from the examples whose gold label is known
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column task: Task of the dataset.
-- column metric: accuracy or macro_f1.
-- column variant: strict: examples without a gold label are left out, truncated ones are scored and counted.
-- column value: The score, a share.
-- column ci_low: Lower end of the 95 % interval: Wilson's, for macro-F1 at the effective sample size.
-- column ci_high: Upper end of the same interval.
-- column standard_error: Standard error of the score; for macro-F1 from its influence function (delta method); NULL where the examples show no spread.
-- column n: Examples scored.
-- column num_classes: Classes that the model chooses among.
-- column chance: Expected score of guessing uniformly among these classes.
-- column num_truncated: Scored examples whose input was cut because it was too long.
with
-- The confusion matrix: everything below is arithmetic on its cells. `evaluation` is what one score is of.
cells as (
    select
        struct_pack(model, dataset, split, language) as evaluation,
        label,
        predicted,
        any_value(task) as task,
        nullif(any_value(len(logits)), 0) as num_classes,
        count(*) as examples,
        count_if(num_truncated > 0) as truncated
    from predictions
    where label is not null and task in ('sequence_classification', 'sentence_pair')
    group by model, dataset, split, language, label, predicted
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
        examples,
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
macro_f1_errors as (
    select evaluation, sqrt(sum(examples * influence ^ 2)) / sum(examples) as standard_error
    from influences
    group by evaluation
),
scores as (
    select
        evaluation,
        'accuracy' as metric,
        correct / n as value,
        1 / num_classes as chance,
        sqrt(correct / n * (1 - correct / n) / n) as standard_error
    from totals
    union all
    select evaluation, 'macro_f1', value, chance, standard_error
    from macro_f1
    join macro_f1_errors using (evaluation)
),
sized as (
    -- The sample size at which a plain share would have this standard error: n itself for accuracy.
    -- Rounding leaves a hair of it where there is none.
    select *, case when standard_error > 1e-9 then value * (1 - value) / standard_error ^ 2 else n end as effective_n
    from scores
    join totals using (evaluation)
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
    wilson_low(value * effective_n, effective_n) as ci_low,
    wilson_high(value * effective_n, effective_n) as ci_high,
    case when standard_error > 1e-9 then standard_error end as standard_error,
    n,
    num_classes,
    chance,
    num_truncated
from sized
