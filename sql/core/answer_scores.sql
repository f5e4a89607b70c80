-- How good the predicted answer to one question is: the best over its gold answers.
-- key: model, dataset, split, language, example_id, variant
-- source: exact match and F1 of SQuAD (Rajpurkar et al. 2016); paper: SQuAD v1.1's script, as published for XQuAD (macros squad_words and squad_f1); strict: ours, after the multilingual normalisation of MLQA (Lewis et al. 2020), which it is not to the letter (macros answer_words and words_f1)
-- kept: by model, language
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the question.
-- column variant: strict or paper: how answers are normalised.
-- column exact_match: 1 if the answer is one of the gold answers after normalisation, else 0; two answers of which nothing is left are the same.
-- column f1: F1 of its words with those of the gold answer that it is closest to; of two answers without a word strict 1, paper 0, as SQuAD v1.1's script.
-- column num_truncated: Sub-tokens of the question that were cut off.
with
answered as (
    select
        p.model, p.dataset, p.split, p.language, p.example_id, p.num_truncated, p.predicted,
        list_filter(list_transform(e.answers, lambda answer: answer.text), lambda text: text is not null) as golds,
        len(e.answers) as num_golds
    from predictions as p
    join examples as e using (dataset, split, language, example_id)
    -- What was not answered, or has no gold, has no score.
    where p.task = 'question_answering' and e.answers is not null and p.predicted is not null
),
-- A question without an answer has the empty one.
compared as (
    select
        * exclude (golds, num_golds),
        unnest(case when num_golds = 0 then [''] else golds end) as gold
    from answered
),
normalised as (
    select *, 'strict' as variant, answer_words(predicted, language) as said, answer_words(gold, language) as wanted,
        words_f1(said, wanted) as f1
    from compared
    union all
    select *, 'paper', squad_words(predicted) as said, squad_words(gold) as wanted, squad_f1(said, wanted)
    from compared
)
select
    model, dataset, split, language, example_id, variant,
    max((said = wanted)::int)::double as exact_match,
    max(f1) as f1,
    any_value(num_truncated) as num_truncated
from normalised
group by all
