-- The texts of one example in one language, which other tables point into by segment, char_start and char_end.
-- key: dataset, split, language, example_id
-- source: `examples`; the language that translations are from has no rows there: its texts are the first texts of the first other language, by name, that has the example
-- kept: no
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the example; equal across languages in parallel data.
-- column text: Segment 0; of translations the source.
-- column text_pair: Segment 1; NULL where there is none.
with
translated as (
    select dataset, split, example_id, arg_min(text, language) as text
    from examples
    where task = 'translation'
    group by all
),
sides as (
    select distinct dataset, split, language
    from sentence_vectors
    where (dataset, split) in (select (dataset, split) from translated)
)
select dataset, split, language, example_id, text, text_pair
from examples
union all
select dataset, split, sides.language, example_id, text, null as text_pair
from sides
join translated using (dataset, split)
anti join examples using (dataset, split, language)
