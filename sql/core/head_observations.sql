-- How often a player's leaving changed a score by a certain amount: independent observations, counted.
-- key: model, dataset, split, language, sampler, unit, layer, head, half, marginal
-- source: head_samples; of antithetic pairs the mean is one observation; halves are of even and odd draws (of exact values: by example), so that they share no permutation
-- kept: by model, language
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column sampler: Key of the sampler in the study.
-- column estimator: permutation, antithetic, whole_set or exact.
-- column unit: What is removed: head, layer, mlp or group.
-- column layer: Attention block in the order of the forward pass.
-- column head: Head within the layer; number of the group.
-- column half: 0 or 1: which half of the draws.
-- column marginal: Score before the removal minus the score after it, a share.
-- column observations: How often.
with
drawn as (
    select
        model, dataset, split, language, sampler, estimator, unit, layer, head,
        case when estimator = 'exact' then hash(example_id) % 2 else permutation % 2 end::int as half,
        marginal::double as marginal
    from head_samples
    where estimator <> 'antithetic'
    union all
    select
        model, dataset, split, language, sampler, estimator, unit, layer, head,
        (permutation // 2 % 2)::int,
        avg(marginal::double)
    from head_samples
    where estimator = 'antithetic'
    group by model, dataset, split, language, sampler, estimator, unit, layer, head, permutation // 2
)
select *, count(*) as observations
from drawn
group by all
