-- Attribution of one word: the sum over its sub-tokens, for one model, example, method and target.
-- key: model, dataset, split, language, example_id, method, target, word_index
-- source: attribution(word) = sum of the signed attributions of its sub-tokens, in logits; special tokens and lone blanks belong to no word
-- kept: by model, language
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the example; equal across languages in parallel data.
-- column method: Attribution method.
-- column target: The output that is explained: a class label.
-- column word_index: Place of the word, counted over both segments.
-- column segment: 0 first text, 1 second text.
-- column word: Surface form.
-- column char_start: First code point of the word in its segment's text; see the macro `surface`.
-- column char_end: One past its last code point.
-- column num_tokens: Sub-tokens of the word.
-- column attribution: Signed attribution, in logits.
-- column attribution_error: Sum of the estimated errors of its sub-tokens; NULL where the method estimates none.
-- column converged: Whether the attributions of the example converged (attribution_runs); NULL for methods without completeness.
select
    a.model, a.dataset, a.split, a.language, a.example_id, a.method, a.target, t.word_index,
    any_value(t.segment) as segment,
    any_value(t.word) as word,
    any_value(t.word_start) as char_start,
    any_value(t.word_end) as char_end,
    count(*) as num_tokens,
    sum(a.attribution::double) as attribution,
    sum(a.attribution_error::double) as attribution_error,
    any_value(r.converged) as converged
from token_attributions as a
join tokens as t using (model, dataset, split, language, example_id, position)
left join attribution_runs as r using (model, dataset, split, language, example_id, method, target)
where not t.is_special and t.word_index is not null
group by all
