-- Accuracy in one language against the number of players removed, by one ranking made in that language.
-- key: model, dataset, split, language, ranking, num_removed
-- source: mean of pruning_tests over the draws of a ranking (random has several), and the whole model at 0
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Dataset that the masks are evaluated on.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language that the masks were made in and are evaluated on.
-- column ranking: What orders the players: shapley.<sampler>, a method of head_importance, or random.
-- column num_removed: Players removed, the least valuable first.
-- column draws: Masks averaged over.
-- column accuracy: Mean accuracy, a share.
-- column accuracy_min: Smallest accuracy of a draw.
-- column accuracy_max: Largest accuracy of a draw.
-- column num_examples: Examples evaluated.
with
curves as (
    select * from pruning_tests where selection = 'curve' and mask_language = language
),
points as (
    select model, dataset, split, language, ranking, num_removed, after as accuracy, num_examples from curves
    union all
    select distinct on (model, dataset, split, language, ranking)
        model, dataset, split, language, ranking, 0, before, num_examples
    from curves
    order by model, dataset, split, language, ranking
)
select
    model, dataset, split, language, ranking, num_removed,
    count(*) as draws,
    avg(accuracy) as accuracy,
    min(accuracy) as accuracy_min,
    max(accuracy) as accuracy_max,
    max(num_examples) as num_examples
from points
group by model, dataset, split, language, ranking, num_removed
