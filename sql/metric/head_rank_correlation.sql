-- How alike two languages rank the heads of a model.
-- key: model, dataset, split, sampler, source_language, target_language
-- source: Spearman's rho of the heads' values; languages share permutations and examples, so rho_apart compares even draws of one with odd draws of the other, and ceiling = sqrt(rho of each language's own halves) is what it could reach
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column sampler: Key of the sampler in the study.
-- column source_language: One language.
-- column target_language: The other one; each pair is there both ways, and each language with itself.
-- column players: Players that both have values for.
-- column rho: Spearman's rho of the values, NULL where a side does not vary; noise that both share through their permutations raises it.
-- column rho_low: Lower end of its 95 % interval (Bonett and Wright); NULL for a rho of 1, as of a language with itself.
-- column rho_high: Upper end of it.
-- column rho_apart: Mean rho between halves of the draws that share no permutation.
-- column ceiling_source: Rho between the source language's own halves.
-- column ceiling_target: Rho between the target language's own halves.
-- column ceiling: Geometric mean of both: what two languages with the same values would reach; NULL where one is not positive.
-- column rho_corrected: rho_apart / ceiling: the correlation without sampling noise, may exceed 1.
with
valued as (
    select
        model, dataset, split, sampler, language, unit, layer, head, value, value_even, value_odd
    from head_shapley
    where variant = 'strict'
),
pairs as (
    select
        struct_pack(model, dataset, split, sampler, source_language := s.language, target_language := t.language) as pair,
        s.value as s, t.value as t,
        s.value_even as s_even, t.value_even as t_even,
        s.value_odd as s_odd, t.value_odd as t_odd
    from valued as s
    join valued as t using (model, dataset, split, sampler, unit, layer, head)
),
ranks as (
    select
        pair,
        average_rank(pair, s) as s,
        average_rank(pair, t) as t,
        average_rank(pair, s_even) as s_even,
        average_rank(pair, t_even) as t_even,
        average_rank(pair, s_odd) as s_odd,
        average_rank(pair, t_odd) as t_odd
    from pairs
),
correlations as (
    select
        pair,
        count(*) as players,
        correlation(s, t) as rho,
        (correlation(s_even, t_odd) + correlation(s_odd, t_even)) / 2 as rho_apart,
        correlation(s_even, s_odd) as ceiling_source,
        correlation(t_even, t_odd) as ceiling_target
    from ranks
    group by pair
),
bounded as (
    select *, case when ceiling_source > 0 and ceiling_target > 0 then sqrt(ceiling_source * ceiling_target) end as ceiling
    from correlations
)
select
    pair.model as model, pair.dataset as dataset, pair.split as split, pair.sampler as sampler,
    pair.source_language as source_language, pair.target_language as target_language,
    players, rho,
    spearman_low(rho, players) as rho_low,
    spearman_high(rho, players) as rho_high,
    rho_apart, ceiling_source, ceiling_target, ceiling,
    rho_apart / ceiling as rho_corrected
from bounded
