-- Agreement of an attribution method with the words that people gave as the reason.
-- key: model, dataset, split, language, method, variant
-- source: DeYoung et al. 2020 (ERASER), section 4, and its released metrics.py for token_f1, auprc and iou_f1 of the same words taken; mean over examples whose predicted class is attributed and that have a rationale; the words taken are the k of highest attribution, k = ceil(share of rationale words in the dataset * words that the model sees)
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column method: Attribution method; random is the floor.
-- column variant: strict: examples whose attributions converged.
-- column n: Examples.
-- column clusters: Clusters of examples that share a text (examples.cluster): what intervals take as independent.
-- column token_precision: Mean share of the words taken that are in the rationale.
-- column token_recall: Mean share of the rationale's words that are taken.
-- column token_f1: Mean harmonic mean of the two.
-- column token_f1_low: Lower end of the 95 % interval by clusters; NULL below ten of them, and where all agree.
-- column token_f1_high: Upper end of it.
-- column average_precision: Mean average precision of the words ranked by attribution: the area under the precision-recall steps.
-- column auprc: ERASER's: mean area under the precision-recall curve by trapezoids, from precision 1 at recall 0; optimistic.
-- column iou_f1: ERASER's: F1 of the mean precision and the mean recall of spans, a span taken being right if it overlaps one of the rationale by at least half of their union; neighbouring rationale words are one span.
-- column mean_iou_f1: Mean over examples of the F1 of spans, no more of them right than the rationale has.
-- column rationale_share: Mean share of words in the rationale: what average_precision and token_precision are by chance.
-- column converged_share: Share of the attributions that converged, whether they count or not; NULL for methods without completeness.
-- column num_unconverged: Those that did not: left out.
with
words as (
    select
        a.model, a.dataset, a.split, a.language, a.example_id, a.method, a.word_index,
        a.attribution,
        a.converged,
        r.is_rationale
    from word_attributions as a
    join predictions as p
        on p.model = a.model
        and p.dataset = a.dataset
        and p.split = a.split
        and p.language = a.language
        and p.example_id = a.example_id
        and p.predicted = a.target
    join rationale_words as r
        on r.dataset = a.dataset
        and r.split = a.split
        and r.language = a.language
        and r.example_id = a.example_id
        and r.word_index = a.word_index
    where a.segment = 0 and r.is_rationale is not null
),
shares as (
    select model, dataset, split, language, avg(is_rationale::int) as share
    from (select distinct model, dataset, split, language, example_id, word_index, is_rationale from words)
    group by all
),
ranked as (
    select
        words.*,
        row_number() over (example order by attribution desc, word_index) <= ceil(share * count(*) over example)
            as is_taken,
        -- Words of equal attribution enter together.
        count(*) over (example order by attribution desc range unbounded preceding) as entered,
        sum(is_rationale::int) over (example order by attribution desc range unbounded preceding) as found,
        sum(is_rationale::int) over example as wanted
    from words
    join shares using (model, dataset, split, language)
    window example as (partition by model, dataset, split, language, example_id, method)
),
tokens_of as (
    select
        model, dataset, split, language, example_id, method,
        count_if(is_taken and is_rationale) as hits,
        count_if(is_taken) as taken,
        any_value(wanted) as wanted,
        any_value(converged) as converged,
        count(*) as size,
        -- Each rationale word adds its share of recall times the precision once it has entered.
        sum(case when is_rationale then found / entered else 0 end) / any_value(wanted) as average_precision
    from ranked
    where wanted > 0
    group by all
),
-- The precision-recall curve, a point wherever words have entered, from (recall 0, precision 1).
points as (
    select
        * exclude (attribution),
        coalesce(lag(found) over curve, 0) as found_before,
        coalesce(lag(found / entered) over curve, 1) as precision_before
    from (
        select distinct
            model, dataset, split, language, example_id, method, attribution, entered, found, wanted
        from ranked
        where wanted > 0
    )
    window curve as (partition by model, dataset, split, language, example_id, method order by attribution desc)
),
curves_of as (
    select
        model, dataset, split, language, example_id, method,
        sum((found - found_before) / wanted * (found / entered + precision_before) / 2) as auprc
    from points
    group by all
),
-- Runs of neighbouring words: word_index minus the count so far is constant within one.
spans as (
    select model, dataset, split, language, example_id, method, kind, min(word_index) as first, max(word_index) as last
    from (
        select
            *,
            word_index - row_number() over (
                partition by model, dataset, split, language, example_id, method, kind order by word_index
            ) as run
        from (
            select *, 'taken' as kind from ranked where is_taken and wanted > 0
            union all
            select *, 'rationale' as kind from ranked where is_rationale
        )
    )
    group by model, dataset, split, language, example_id, method, kind, run
),
compared as (
    select
        taken.model, taken.dataset, taken.split, taken.language, taken.example_id, taken.method, taken.first,
        max(
            greatest(0, least(taken.last, gold.last) - greatest(taken.first, gold.first) + 1)
            / (greatest(taken.last, gold.last) - least(taken.first, gold.first) + 1)
        ) >= 0.5 as is_right
    from spans as taken
    join spans as gold
        on gold.model = taken.model
        and gold.dataset = taken.dataset
        and gold.split = taken.split
        and gold.language = taken.language
        and gold.example_id = taken.example_id
        and gold.method = taken.method
        and gold.kind = 'rationale'
    where taken.kind = 'taken'
    group by all
),
spans_of as (
    select
        model, dataset, split, language, example_id, method,
        count_if(is_right) as right_spans,
        count(*) as taken_spans
    from compared
    group by all
),
gold_of as (
    select model, dataset, split, language, example_id, method, count(*) as gold_spans
    from spans
    where kind = 'rationale'
    group by all
),
examples_of as (
    select
        tokens_of.*,
        2.0 * hits / (taken + wanted) as token_f1,
        curves_of.auprc,
        right_spans / taken_spans as span_precision,
        right_spans / gold_spans as span_recall,
        2.0 * least(right_spans, gold_spans) / (taken_spans + gold_spans) as span_f1
    from tokens_of
    join curves_of using (model, dataset, split, language, example_id, method)
    join spans_of using (model, dataset, split, language, example_id, method)
    join gold_of using (model, dataset, split, language, example_id, method)
),
judged as (
    select
        examples_of.*,
        coalesce(examples.cluster, example_id) as cluster,
        'strict' as variant,
        counts_in(variant, converged) as counts
    from examples_of
    left join examples using (dataset, split, language, example_id)
),
clustered as (
    select model, dataset, split, language, method, variant, cluster, sum(token_f1) as token_f1, count(*)::double as examples
    from judged
    where counts
    group by all
),
errors as (
    select
        model, dataset, split, language, method, variant,
        count(*)::bigint as clusters,
        cluster_error(
            list(token_f1 order by cluster), list(examples order by cluster), sum(token_f1) / sum(examples), sum(examples)
        ) as token_f1_se
    from clustered
    group by all
),
means as (
    select
        model, dataset, split, language, method, variant,
        count_if(counts)::bigint as n,
        avg(hits / taken) filter (counts) as token_precision,
        avg(hits / wanted) filter (counts) as token_recall,
        avg(token_f1) filter (counts) as token_f1,
        avg(average_precision) filter (counts) as average_precision,
        avg(auprc) filter (counts) as auprc,
        harmonic_mean(avg(span_precision) filter (counts), avg(span_recall) filter (counts)) as iou_f1,
        avg(span_f1) filter (counts) as mean_iou_f1,
        avg(wanted / size) filter (counts) as rationale_share,
        avg(converged::int) as converged_share,
        (count(*) filter (not converged))::bigint as num_unconverged
    from judged
    group by all
)
select
    model, dataset, split, language, method, variant,
    n,
    coalesce(clusters, 0) as clusters,
    token_precision,
    token_recall,
    token_f1,
    cluster_low(token_f1, token_f1_se, clusters, lowest := 0.0) as token_f1_low,
    cluster_high(token_f1, token_f1_se, clusters, highest := 1.0) as token_f1_high,
    average_precision,
    auprc,
    iou_f1,
    mean_iou_f1,
    rationale_share,
    converged_share,
    num_unconverged
from means
left join errors using (model, dataset, split, language, method, variant)
