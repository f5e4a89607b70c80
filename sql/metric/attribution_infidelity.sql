-- Infidelity and sensitivity of an attribution method: how well it foretells what the model loses without some tokens, and how steady it is under noise.
-- key: model, dataset, split, language, method, variant
-- source: Yeh et al. 2019, "On the (in)fidelity and sensitivity of explanations", definitions 2.1 and 3.1, as captum's infidelity and sensitivity_max have them; over draws of one example, then the mean over examples; removed tokens become the mask token, in sets of every size
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column method: Attribution method; random is the floor of infidelity, and is never moved by noise.
-- column variant: strict: examples whose attributions converged.
-- column n: Examples and targets.
-- column clusters: Clusters of examples that share a text (examples.cluster): what intervals take as independent.
-- column draws: Draws of each.
-- column infidelity: Mean square of (attributions of the removed tokens - logit lost without them), squared logits.
-- column infidelity_low: Lower end of the 95 % interval by clusters; NULL below ten of them, and where all agree.
-- column infidelity_high: Upper end of it.
-- column infidelity_scaled: The same with each example's attributions multiplied by what makes it smallest: for methods that are not in logits, as attention.
-- column unexplained: Mean of infidelity_scaled over the mean square of the logit lost, by example: 0 foretold but for the scale, 1 not at all.
-- column sensitivity_max: Mean of the largest change of the attributions under noise, relative to their L2 norm; NULL where the study asks for none.
-- column sensitivity_max_low: Lower end of the 95 % interval by clusters; NULL below ten of them.
-- column sensitivity_max_high: Upper end of it.
-- column sensitivity_mean: Mean of the mean change.
-- column converged_share: Share of the attributions that converged, whether they count or not; NULL for methods without completeness.
-- column num_unconverged: Those that did not: left out.
with
examples_of as (
    select
        model, dataset, split, language, example_id, method, target,
        count(*) as draws,
        finite(avg((attributed - lost) ** 2)) as infidelity,
        -- Least over b of mean((b * attributed - lost)^2): b = mean(attributed * lost) / mean(attributed^2).
        finite(greatest(0, avg(lost ** 2) - coalesce(avg(attributed * lost) ** 2 / nullif(avg(attributed ** 2), 0), 0)))
            as infidelity_scaled,
        finite(avg(lost ** 2)) as lost_square,
        -- Attributions that are all zero have no scale: captum takes 1.
        max(finite(change / case when norm = 0 then 1 else norm end)) as sensitivity_max,
        avg(finite(change / case when norm = 0 then 1 else norm end)) as sensitivity_mean
    from attribution_probes
    group by all
),
judged as (
    select
        examples_of.*, converged,
        coalesce(examples.cluster, example_id) as cluster,
        'strict' as variant,
        counts_in(variant, converged) as counts
    from examples_of
    left join attribution_runs using (model, dataset, split, language, example_id, method, target)
    left join examples using (dataset, split, language, example_id)
),
clustered as (
    select
        model, dataset, split, language, method, variant, cluster,
        sum(infidelity) as infidelity, count(infidelity)::double as infidelities,
        sum(sensitivity_max) as sensitivity_max, count(sensitivity_max)::double as sensitivities
    from judged
    where counts
    group by all
),
errors as (
    select
        model, dataset, split, language, method, variant,
        count(*)::bigint as clusters,
        count_if(sensitivities > 0)::bigint as sensitivity_clusters,
        cluster_error(
            list(infidelity order by cluster) filter (infidelities > 0),
            list(infidelities order by cluster) filter (infidelities > 0),
            sum(infidelity) / sum(infidelities), sum(infidelities)
        ) as infidelity_se,
        cluster_error(
            list(sensitivity_max order by cluster) filter (sensitivities > 0),
            list(sensitivities order by cluster) filter (sensitivities > 0),
            sum(sensitivity_max) / nullif(sum(sensitivities), 0), sum(sensitivities)
        ) as sensitivity_max_se
    from clustered
    group by all
),
means as (
    select
        model, dataset, split, language, method, variant,
        count_if(counts)::bigint as n,
        max(draws)::bigint as draws,
        avg(infidelity) filter (counts) as infidelity,
        avg(infidelity_scaled) filter (counts) as infidelity_scaled,
        avg(finite(infidelity_scaled / lost_square)) filter (counts) as unexplained,
        avg(sensitivity_max) filter (counts) as sensitivity_max,
        avg(sensitivity_mean) filter (counts) as sensitivity_mean,
        avg(converged::int) as converged_share,
        (count(*) filter (not converged))::bigint as num_unconverged
    from judged
    group by all
)
select
    model, dataset, split, language, method, variant,
    n,
    coalesce(clusters, 0) as clusters,
    draws,
    infidelity,
    cluster_low(infidelity, infidelity_se, clusters, lowest := 0.0) as infidelity_low,
    cluster_high(infidelity, infidelity_se, clusters) as infidelity_high,
    infidelity_scaled,
    unexplained,
    sensitivity_max,
    cluster_low(sensitivity_max, sensitivity_max_se, sensitivity_clusters, lowest := 0.0) as sensitivity_max_low,
    cluster_high(sensitivity_max, sensitivity_max_se, sensitivity_clusters) as sensitivity_max_high,
    sensitivity_mean,
    converged_share,
    num_unconverged
from means
left join errors using (model, dataset, split, language, method, variant)
