-- How one model's tokenizer cuts one dataset, split and language.
-- key: model, dataset, split, language
-- source: fertility = sub-tokens in words / words (arXiv 2403.12809, section on tokenization); special tokens and lone blanks are left out
-- kept: by model, language
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column examples: Examples tokenized.
-- column words: Word occurrences that the model sees at least a part of.
-- column tokens: Sub-tokens inside words.
-- column fertility: Sub-tokens per word.
-- column splitting_ratio: Share of the words that are cut into two or more sub-tokens.
-- column unknown_ratio: Share of the sub-tokens inside words that are the tokenizer's UNK.
-- column characters_per_token: Code points of the words per sub-token.
-- column segmenter: What split the text into words; several are joined by `+`.
with words as (
    select
        model, dataset, split, language, example_id, word_index,
        any_value(segmenter) as segmenter,
        max(length(word)) as characters,
        count(*) as tokens,
        count_if(is_unknown) as unknown
    from tokens
    where word_index is not null and not is_special
    group by model, dataset, split, language, example_id, word_index
)
select
    model, dataset, split, language,
    count(distinct example_id) as examples,
    count(*) as words,
    sum(tokens)::bigint as tokens,
    sum(tokens) / count(*) as fertility,
    count_if(tokens > 1) / count(*) as splitting_ratio,
    sum(unknown) / sum(tokens) as unknown_ratio,
    sum(characters) / sum(tokens) as characters_per_token,
    string_agg(distinct segmenter, '+' order by segmenter) as segmenter
from words
group by model, dataset, split, language
