-- Similarity of an attribution method on a model and on its twin with shuffled weights: the model randomisation check.
-- key: model, dataset, split, language, method, variant
-- source: Adebayo et al. 2018, "Sanity checks for saliency maps", section 3; rank correlation over the sub-tokens of each example, for the same class; a method that explains the model comes near 0
-- kept: whole
-- column model: Key of the twin.
-- column weights_of: Key of the model.
-- column randomized: Weights that were shuffled: head or all.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column method: Attribution method; random draws by example alone, so it is the same on both.
-- column variant: strict: examples whose attributions converged on both models; special tokens left out.
-- column n: Examples of which both explain the same class, with a correlation that is defined.
-- column clusters: Clusters of examples that share a text (examples.cluster): what intervals take as independent.
-- column spearman: Mean rank correlation of the signed attributions.
-- column spearman_low: Lower end of the 95 % interval by clusters; NULL below ten of them, and where all agree.
-- column spearman_high: Upper end of it.
-- column spearman_abs: Mean rank correlation of their absolute values.
-- column path_baseline: Where the paths of the model's attributions begin: zero, mask, pad or mean word vectors; NULL for other methods.
-- column twin_path_baseline: The same of the twin; where it is another one, the correlation also measures that difference.
-- column converged_share: Share of the examples whose attributions converged on both models, whether they count or not; NULL for methods without completeness.
-- column num_unconverged: Those that did not: left out.
with
twins as (
    select model, weights_of, randomized from models where randomized is not null and weights_of is not null
),
-- Of the models themselves, so that a warehouse without twins is not joined with itself.
originals as (
    select * from token_attributions where model in (select weights_of from twins)
),
original_tokens as (
    select * from tokens where model in (select weights_of from twins) and not is_special
),
paired as (
    select
        twins.model, twins.weights_of, twins.randomized,
        twin.dataset, twin.split, twin.language, twin.example_id, twin.method, twin.target,
        twin.attribution::double as twin,
        original.attribution::double as original
    from twins
    join token_attributions as twin using (model)
    join originals as original
        on original.model = twins.weights_of
        and original.dataset = twin.dataset
        and original.split = twin.split
        and original.language = twin.language
        and original.example_id = twin.example_id
        and original.method = twin.method
        and original.target = twin.target
        and original.position = twin.position
    join original_tokens as tokens
        on tokens.model = twins.weights_of
        and tokens.dataset = twin.dataset
        and tokens.split = twin.split
        and tokens.language = twin.language
        and tokens.example_id = twin.example_id
        and tokens.position = twin.position
),
ranked as (
    select
        model, weights_of, randomized, dataset, split, language, example_id, method, target,
        average_rank((model, dataset, split, language, example_id, method, target), twin) as twin_rank,
        average_rank((model, dataset, split, language, example_id, method, target), original) as original_rank,
        average_rank((model, dataset, split, language, example_id, method, target), abs(twin)) as twin_size,
        average_rank((model, dataset, split, language, example_id, method, target), abs(original)) as original_size
    from paired
),
correlations as (
    select
        model, weights_of, randomized, dataset, split, language, example_id, method, target,
        correlation(twin_rank, original_rank) as spearman,
        correlation(twin_size, original_size) as spearman_abs
    from ranked
    group by all
),
judged as (
    select
        correlations.*,
        coalesce(examples.cluster, correlations.example_id) as cluster,
        'strict' as variant,
        both_converged(twin.converged, original.converged) as both_did,
        counts_in(variant, both_did) as counts,
        original.parameters ->> '$.baseline' as path_baseline,
        twin.parameters ->> '$.baseline' as twin_path_baseline
    from correlations
    left join attribution_runs as twin using (model, dataset, split, language, example_id, method, target)
    left join attribution_runs as original
        on original.model = correlations.weights_of
        and original.dataset = correlations.dataset
        and original.split = correlations.split
        and original.language = correlations.language
        and original.example_id = correlations.example_id
        and original.method = correlations.method
        and original.target = correlations.target
    left join examples
        on examples.dataset = correlations.dataset
        and examples.split = correlations.split
        and examples.language = correlations.language
        and examples.example_id = correlations.example_id
    where spearman is not null
),
clustered as (
    select
        model, weights_of, randomized, dataset, split, language, method, variant, cluster,
        sum(spearman) as spearman, count(*)::double as size
    from judged
    where counts
    group by all
),
errors as (
    select
        model, weights_of, randomized, dataset, split, language, method, variant,
        count(*)::bigint as clusters,
        cluster_error(list(spearman order by cluster), list(size order by cluster), sum(spearman) / sum(size), sum(size))
            as spearman_se
    from clustered
    group by all
),
means as (
    select
        model, weights_of, randomized, dataset, split, language, method, variant,
        count_if(counts)::bigint as n,
        avg(spearman) filter (counts) as spearman,
        avg(spearman_abs) filter (counts) as spearman_abs,
        max(path_baseline) as path_baseline,
        max(twin_path_baseline) as twin_path_baseline,
        avg(both_did::int) as converged_share,
        (count(*) filter (not both_did))::bigint as num_unconverged
    from judged
    group by all
)
select
    model, weights_of, randomized, dataset, split, language, method, variant,
    n,
    coalesce(clusters, 0) as clusters,
    spearman,
    cluster_low(spearman, spearman_se, clusters, lowest := -1.0) as spearman_low,
    cluster_high(spearman, spearman_se, clusters, highest := 1.0) as spearman_high,
    spearman_abs,
    path_baseline,
    twin_path_baseline,
    converged_share,
    num_unconverged
from means
left join errors using (model, weights_of, randomized, dataset, split, language, method, variant)
