-- Infidelity and sensitivity of an attribution method: how well it foretells what the model loses without some tokens, and how steady it is under noise.
-- key: model, dataset, split, language, method, variant
-- source: Yeh et al. 2019, "On the (in)fidelity and sensitivity of explanations", definitions 2.1 and 3.1, as captum's infidelity and sensitivity_max have them; over draws of one example, then the mean over examples; removed tokens become the mask token, in sets of every size
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column method: Attribution method; random is the floor of infidelity, and is never moved by noise.
-- column variant: strict: as described.
-- column n: Examples and targets.
-- column draws: Draws of each.
-- column infidelity: Mean square of (attributions of the removed tokens - logit lost without them), squared logits.
-- column infidelity_low: Lower end of the 95 % interval, a normal approximation over examples.
-- column infidelity_high: Upper end of it.
-- column infidelity_scaled: The same with each example's attributions multiplied by what makes it smallest: for methods that are not in logits, as attention.
-- column unexplained: Mean of infidelity_scaled over the mean square of the logit lost, by example: 0 foretold but for the scale, 1 not at all.
-- column sensitivity_max: Mean of the largest change of the attributions under noise, relative to their L2 norm; NULL where the study asks for none.
-- column sensitivity_max_low: Lower end of the 95 % interval, a normal approximation over examples.
-- column sensitivity_max_high: Upper end of it.
-- column sensitivity_mean: Mean of the mean change.
with
examples_of as (
    select
        model, dataset, split, language, example_id, method, target,
        count(*) as draws,
        avg((attributed - lost) ** 2) as infidelity,
        -- Least over b of mean((b * attributed - lost)^2): b = mean(attributed * lost) / mean(attributed^2).
        greatest(0, avg(lost ** 2) - coalesce(avg(attributed * lost) ** 2 / nullif(avg(attributed ** 2), 0), 0))
            as infidelity_scaled,
        avg(lost ** 2) as lost_square,
        -- Attributions that are all zero have no scale: captum takes 1.
        max(change / if(norm = 0, 1, norm)) as sensitivity_max,
        avg(change / if(norm = 0, 1, norm)) as sensitivity_mean
    from attribution_probes
    group by all
)
select
    model, dataset, split, language, method,
    'strict' as variant,
    count(*)::bigint as n,
    max(draws)::bigint as draws,
    avg(infidelity) as infidelity,
    normal_low(avg(infidelity), stddev_samp(infidelity), count(*)) as infidelity_low,
    normal_high(avg(infidelity), stddev_samp(infidelity), count(*)) as infidelity_high,
    avg(infidelity_scaled) as infidelity_scaled,
    avg(infidelity_scaled / nullif(lost_square, 0)) as unexplained,
    avg(sensitivity_max) as sensitivity_max,
    normal_low(avg(sensitivity_max), stddev_samp(sensitivity_max), count(sensitivity_max)) as sensitivity_max_low,
    normal_high(avg(sensitivity_max), stddev_samp(sensitivity_max), count(sensitivity_max)) as sensitivity_max_high,
    avg(sensitivity_mean) as sensitivity_mean
from examples_of
group by all
