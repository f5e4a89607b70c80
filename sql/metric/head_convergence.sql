-- How the estimate of one player's value came to be: after 1, 2, 4, 8, ... permutations.
-- key: model, dataset, split, language, sampler, unit, layer, head, permutations
-- source: running sums over head_samples; the strict interval at error 0.1 holds at all of them together; marginals of antithetic pairs count one by one here
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column sampler: Key of the sampler in the study.
-- column unit: What is removed: head, layer, mlp or group.
-- column layer: Attention block in the order of the forward pass.
-- column head: Head within the layer; number of the group.
-- column permutations: Permutations up to here.
-- column n: Observations up to here.
-- column value: Mean marginal up to here, a share.
-- column value_low: Lower end of the strict interval.
-- column value_high: Upper end of it.
with
steps as (
    select
        model, dataset, split, language, sampler, unit, layer, head,
        ceil(log2(permutation + 1))::int as step,
        count(*) as n,
        sum(marginal::double) as total,
        sum(marginal::double ^ 2) as square
    from head_samples
    where estimator <> 'exact'
    group by all
),
running as (
    select
        * exclude (n, total, square),
        sum(n) over upto as n,
        sum(total) over upto as total,
        sum(square) over upto as square
    from steps
    window upto as (partition by model, dataset, split, language, sampler, unit, layer, head order by step)
),
players as (
    select model, dataset, split, language, sampler, count(distinct (unit, layer, head)) as players
    from steps
    group by all
)
select
    model, dataset, split, language, sampler, unit, layer, head,
    (2 ^ step)::bigint as permutations,
    n::bigint as n,
    total / n as value,
    greatest(-1.0, total / n - strict_radius(n, square, 0.1 / players)) as value_low,
    least(1.0, total / n + strict_radius(n, square, 0.1 / players)) as value_high
from running
join players using (model, dataset, split, language, sampler)
