-- What one example adds to a score that is a ratio of sums: the score of a corpus is sum(numerator) / sum(denominator).
-- key: model, dataset, split, language, example_id, metric, variant
-- source: token accuracy: right words / words; span F1: 2 right entities / (gold + predicted entities); exact match and F1 of answers: their value / 1
-- kept: by model, language
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the example: a sentence or a question.
-- column task: Task of the dataset.
-- column metric: token_accuracy, span_f1, exact_match or f1.
-- column variant: strict, or paper for answers normalised as SQuAD does.
-- column numerator: What is right in the example.
-- column denominator: What it is out of.
-- column truncated: The input was cut because it was too long.
-- column num_classes: Tags that the model chooses among; NULL for answers.
-- column cluster: Cluster of the example (examples.cluster): what intervals take as independent.
with
sentences as (
    select
        model, dataset, split, language, example_id,
        count_if(coalesce(predicted = label, false))::double as numerator,
        count(*)::double as denominator,
        bool_or(status = 'truncated') as truncated,
        nullif(max(len(logits)), 0) as num_classes
    from token_predictions
    where label is not null
    group by all
),
scored as (
    select
        model, dataset, split, language, example_id,
        'token_classification' as task,
        'token_accuracy' as metric,
        'strict' as variant,
        numerator, denominator, truncated, num_classes
    from sentences
    union all
    select
        model, dataset, split, language, example_id,
        'token_classification', 'span_f1', 'strict',
        2.0 * e.hits,
        (e.gold + e.predicted)::double,
        s.truncated,
        s.num_classes
    from entity_counts as e
    join sentences as s using (model, dataset, split, language, example_id)
    union all
    select
        model, dataset, split, language, example_id,
        'question_answering',
        unnest(['exact_match', 'f1']),
        variant,
        unnest([exact_match, f1]),
        1.0,
        num_truncated > 0,
        null
    from answer_scores
)
select scored.*, coalesce(examples.cluster, example_id) as cluster
from scored
left join examples using (dataset, split, language, example_id)
