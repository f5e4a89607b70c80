-- BLEU and chrF of one model on one dataset, split and language translated into.
-- key: model, dataset, split, language, metric, variant
-- source: BLEU: Papineni et al. 2002, with sacreBLEU's exponential smoothing of zero counts; chrF2: Popović 2015; both equal to sacreBLEU's corpus_score / 100. Standard error by bootstrap over clusters of sentences (examples.cluster), 1000 resamples of bootstrap_weights; of more than 400 clusters, 400 blocks of them dealt by a hash are resampled; Student's t, no interval below ten clusters. Sentences whose counts are not complete are left out
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language translated into.
-- column task: translation.
-- column metric: bleu or chrf.
-- column variant: strict: sacreBLEU's defaults, as the signature says.
-- column value: The score, a share (sacreBLEU's number divided by 100).
-- column ci_low: Lower end of the 95 % interval; NULL below ten clusters, and where all resamples agree.
-- column ci_high: Upper end of the same interval.
-- column standard_error: Standard error of the score by clusters; NULL where all resamples agree.
-- column n: Sentences scored.
-- column clusters: Clusters of them (examples.cluster): what intervals take as independent.
-- column num_units: bleu: tokens of the references; chrf: their characters without blanks.
-- column num_truncated: Sentences whose source was cut because it was too long.
-- column num_cut_outputs: Outputs that were stopped at the most sub-tokens the model may write; they are scored as they are.
-- column interval: bootstrap.
-- column signature: sacreBLEU's signature.
with
counted as (
    select
        struct_pack(model, dataset, split, language, metric, signature) as evaluation,
        statistics,
        coalesce(examples.cluster, example_id) as cluster
    from translation_statistics
    left join examples using (dataset, split, language, example_id)
    where is_complete(statistics) and len(statistics) = case when metric = 'bleu' then 10 else 18 end
),
dealt as (
    select *, (dense_rank() over (partition by evaluation order by hash(cluster), cluster) - 1) % 400 as block
    from counted
),
-- Sums by block, one row per place in the list of counts.
blocks as (
    select evaluation, place, block, sum(statistics[place]) as count
    from dealt
    cross join unnest(range(1, len(statistics) + 1)) as places(place)
    group by evaluation, place, block
),
counts as (
    select evaluation, place, list(count::double order by block) as by_block
    from blocks
    group by evaluation, place
),
-- The sums that a score is computed from: resample NULL is the corpus itself.
sums as (
    select evaluation, null as resample, list(list_sum(by_block) order by place) as totals
    from counts
    group by evaluation
    union all
    select
        evaluation,
        resample,
        list(list_inner_product(by_block, list_slice(weights, 1, len(by_block))) order by place)
    from counts
    cross join bootstrap_weights
    group by evaluation, resample
),
scores as (
    select
        evaluation,
        resample,
        totals,
        case when evaluation.metric = 'bleu' then bleu_of_counts(totals) else chrf_of_counts(totals) end as value
    from sums
),
summaries as (
    select
        evaluation,
        any_value(value) filter (resample is null) as value,
        any_value(totals) filter (resample is null) as totals,
        stddev_samp(value) filter (resample is not null) as spread
    from scores
    group by evaluation
),
sizes as (
    select evaluation, count(*)::bigint as n, count(distinct cluster)::bigint as clusters
    from dealt
    group by evaluation
),
-- Exponential weights vary by n / (n + 1) of what leaving out one of n at a time tells.
erring as (
    select
        *,
        least(clusters, 400) as blocks_drawn,
        error_with_spread(value, spread * sqrt((blocks_drawn + 1.0) / nullif(blocks_drawn - 1.0, 0))) as standard_error
    from summaries
    join sizes using (evaluation)
),
cut as (
    select model, dataset, split, language, count_if(num_truncated > 0)::bigint as num_truncated
    from predictions
    where task = 'translation' and label is not null
    group by all
),
stopped as (
    select model, dataset, split, language, count_if(is_cut)::bigint as num_cut_outputs
    from translations
    semi join translation_statistics using (model, dataset, split, language, example_id)
    group by all
)
select
    evaluation.model as model,
    evaluation.dataset as dataset,
    evaluation.split as split,
    evaluation.language as language,
    'translation' as task,
    evaluation.metric as metric,
    'strict' as variant,
    value,
    cluster_low(value, standard_error, clusters, lowest := 0.0) as ci_low,
    cluster_high(value, standard_error, clusters, highest := 1.0) as ci_high,
    standard_error,
    n,
    clusters,
    totals[2]::bigint as num_units,
    num_truncated,
    num_cut_outputs,
    'bootstrap' as interval,
    evaluation.signature as signature
from erring
left join cut
    on cut.model = evaluation.model
    and cut.dataset = evaluation.dataset
    and cut.split = evaluation.split
    and cut.language = evaluation.language
left join stopped
    on stopped.model = evaluation.model
    and stopped.dataset = evaluation.dataset
    and stopped.split = evaluation.split
    and stopped.language = evaluation.language
