-- One word of a classified text, and whether people gave it as a reason for the label.
-- key: dataset, split, language, example_id, word_index
-- source: `examples.word_labels` of datasets in ERASER's format (DeYoung et al. 2020)
-- kept: no
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the example.
-- column word_index: Place of the word in the first text, counted from 0.
-- column word: Surface form.
-- column segment: 0, the first text.
-- column char_start: First code point of the word in that text.
-- column char_end: One past its last code point.
-- column is_rationale: Whether it lies inside an evidence.
select
    dataset, split, language, example_id,
    place - 1 as word_index,
    words[place] as word,
    0 as segment,
    word_spans[place].start as char_start,
    word_spans[place].end as char_end,
    word_labels[place] = 'rationale' as is_rationale
from (
    select *, unnest(range(1, len(words) + 1)) as place
    from examples
    where task in ('sequence_classification', 'sentence_pair') and words is not null and word_labels is not null
)
