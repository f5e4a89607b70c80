-- Entities of one sentence: how many in the gold tags, how many as predicted, and how many of these are right.
-- key: model, dataset, split, language, example_id
-- source: CoNLL-2003's lenient reading of IOB tags, seqeval's default: an entity begins at B-x, and at an I-x that follows another type or none; right: same type, same first and last word. Only of corpora whose gold tags are all O, B-... or I-...; a word without a prediction is outside of any entity
-- kept: by model, language
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the sentence.
-- column gold: Entities of the gold tags.
-- column predicted: Entities of the predicted tags.
-- column hits: Entities that are in both.
with
iob_corpora as (
    select model, dataset, split, language
    from token_predictions
    where label is not null
    group by model, dataset, split, language
    having bool_and(label = 'O' or label[:2] in ('B-', 'I-')) and bool_or(label <> 'O')
),
tagged as (
    select
        struct_pack(model, dataset, split, language, example_id) as sentence,
        word_index,
        label as gold,
        coalesce(predicted, 'O') as predicted
    from token_predictions
    semi join iob_corpora using (model, dataset, split, language)
    where label is not null
),
with_previous as (
    select
        *,
        coalesce(lag(gold) over words, 'O') as gold_before,
        coalesce(lag(predicted) over words, 'O') as predicted_before
    from tagged
    window words as (partition by sentence order by word_index)
),
opened as (
    -- O has no type, so an I-x after it differs from it too.
    select
        *,
        gold[:1] = 'B' or gold[:1] = 'I' and gold_before[3:] <> gold[3:] as opens_gold,
        predicted[:1] = 'B' or predicted[:1] = 'I' and predicted_before[3:] <> predicted[3:] as opens_predicted
    from with_previous
),
numbered as (
    select
        *,
        sum(opens_gold::int) over words as gold_number,
        sum(opens_predicted::int) over words as predicted_number
    from opened
    window words as (partition by sentence order by word_index)
),
gold_entities as (
    select sentence, min(word_index) as first, max(word_index) as last, any_value(gold[3:]) as kind
    from numbered
    where gold <> 'O'
    group by sentence, gold_number
),
predicted_entities as (
    select sentence, min(word_index) as first, max(word_index) as last, any_value(predicted[3:]) as kind
    from numbered
    where predicted <> 'O'
    group by sentence, predicted_number
),
counted as (
    select sentence, 0 as gold, 0 as predicted, 0 as hits from tagged
    union all
    select sentence, 1, 0, 0 from gold_entities
    union all
    select sentence, 0, 1, 0 from predicted_entities
    union all
    select sentence, 0, 0, 1 from gold_entities join predicted_entities using (sentence, first, last, kind)
)
select
    sentence.model as model,
    sentence.dataset as dataset,
    sentence.split as split,
    sentence.language as language,
    sentence.example_id as example_id,
    sum(gold)::bigint as gold,
    sum(predicted)::bigint as predicted,
    sum(hits)::bigint as hits
from counted
group by sentence
