-- Alignment of concepts (CALIGN) for every combination of thresholds, over the stored matches; a row as in the view `calign`.
-- thetas: least shares of matching types; n_bests: translations of a word that count; min_sizes: a source concept needs more
-- types than this; size_ratio: least ratio of the two concepts' numbers of types.
create macro calign_sweep(thetas := [0.8], n_bests := [10], min_sizes := [5], size_ratio := 0.6) as table
with
readings as (select unnest([true, false]) as published),
depths as (select unnest(n_bests)::int as n_best),
limits as (select unnest(min_sizes)::int as min_types),
levels as (select unnest(thetas)::double as theta),
-- Whether a concept is aligned depends on its best partner alone, so the thresholds come after this.
best as (
    select
        model, lexicon, source_clustering, target_clustering, baseline, draw, source_concept, published, n_best,
        any_value(source_types) as source_types,
        max(finite(case when published then matched_in_file[n_best] else matched[n_best] end / source_types)) as share
    from concept_matches, readings, depths
    where n_best <= len(matched)
        and case
            when published then source_types / target_types > size_ratio
            else least(source_types, target_types) / greatest(source_types, target_types) >= size_ratio
        end
    group by all
),
counted as (
    select
        model, lexicon, source_clustering, target_clustering, published, n_best, theta, min_types,
        count_if(baseline = 'none')::bigint as aligned,
        count_if(baseline = 'shuffled_lexicon')::bigint as aligned_shuffled,
        count_if(baseline = 'random_labels')::bigint as aligned_random
    from best, levels, limits
    where source_types > min_types and case when published then share > theta else share >= theta end
    group by all
),
eligible as (
    select model, clustering as source_clustering, min_types, count_if(num_types > min_types)::bigint as eligible
    from concepts, limits
    group by all
),
places as (
    select model, clustering as source_clustering, corpus, stack, convention, layer, num_clusters, seed
    from clusterings
),
variants as (
    select unnest(['strict', 'paper', 'published_code']) as variant
),
asked as (
    select
        concept_pairings.*, variant, variant = 'published_code' as published, theta, n_best, min_types,
        source_concepts as concepts,
        -- Beyond what is stored nothing is known, not zero.
        theta >= floor and n_best <= max_rank as is_known
    from concept_pairings, variants, levels, depths, limits
),
scored as (
    select
        *,
        case when is_known then coalesce(aligned, 0) end as found,
        case when is_known then finite(coalesce(aligned_shuffled, 0) / num_draws) end as found_shuffled,
        case when is_known then finite(coalesce(aligned_random, 0) / num_draws) end as found_random
    from asked
    join places using (model, source_clustering)
    join eligible using (model, source_clustering, min_types)
    left join counted
        using (model, lexicon, source_clustering, target_clustering, published, theta, n_best, min_types)
)
select
    model, corpus, stack, convention, layer, num_clusters, seed, source_clustering, target_clustering, lexicon,
    source_language, target_language, variant, theta, n_best, min_types, concepts, eligible,
    found as aligned,
    finite(found / concepts) as score,
    case when is_known then wilson_low(found, concepts) end as score_low,
    case when is_known then wilson_high(found, concepts) end as score_high,
    case when eligible > 0 then found / eligible end as score_eligible,
    case when is_known then wilson_low(found, eligible) end as score_eligible_low,
    case when is_known then wilson_high(found, eligible) end as score_eligible_high,
    finite(found_shuffled / concepts) as null_lexicon,
    finite(found_random / concepts) as null_labels,
    source_types_covered / nullif(source_types, 0) as coverage
from scored;

-- CALIGN at other thresholds than the view `calign`: calign_at(0.7, n_best := 5).
create macro calign_at(at_least, n_best := 10, min_types := 5, size_ratio := 0.6) as table
select * from calign_sweep(thetas := [at_least], n_bests := [n_best], min_sizes := [min_types], size_ratio := size_ratio);

-- Which words matched through which translations, for every pair of aligned concepts at these thresholds; a row as in the
-- view `calign_matches`.
create macro calign_evidence(at_least := 0.8, up_to := 10, more_than := 5, size_ratio := 0.6) as table
with
variants as (select unnest(['strict', 'paper', 'published_code']) as variant),
aligned as (
    select
        model, lexicon, source_clustering, target_clustering, source_concept, target_concept, source_types, target_types,
        variant,
        case when variant = 'published_code' then matched_in_file[up_to] else matched[up_to] end as matched
    from concept_matches, variants
    where baseline = 'none' and source_types > more_than and up_to <= len(matched)
        and case
            when variant = 'published_code'
                then matched_in_file[up_to] / source_types > at_least and source_types / target_types > size_ratio
            else matched[up_to] / source_types >= at_least
                and least(source_types, target_types) / greatest(source_types, target_types) >= size_ratio
        end
),
members as (
    select model, clustering, concept, word, count(*) as occurrences
    from concept_members
    where scope like 'monolingual:%'
    group by all
)
select
    aligned.model,
    clustering.corpus,
    clustering.stack,
    clustering.convention,
    clustering.layer,
    aligned.lexicon,
    translation.source_language,
    translation.target_language,
    aligned.variant,
    aligned.source_clustering,
    aligned.target_clustering,
    aligned.source_concept,
    aligned.target_concept,
    aligned.source_types,
    aligned.target_types,
    aligned.matched,
    source.word as source_word,
    target.word as target_word,
    translation.rank,
    translation.file_rank,
    translation.probability,
    source.occurrences as source_occurrences,
    target.occurrences as target_occurrences
from aligned
join clusterings as clustering
    on clustering.model = aligned.model and clustering.clustering = aligned.source_clustering
join concept_pairings as pairing
    on pairing.model = aligned.model
    and pairing.lexicon = aligned.lexicon
    and pairing.source_clustering = aligned.source_clustering
    and pairing.target_clustering = aligned.target_clustering
join members as source
    on source.model = aligned.model
    and source.clustering = aligned.source_clustering
    and source.concept = aligned.source_concept
join lexicon as translation
    on translation.lexicon = aligned.lexicon
    and translation.source_language = pairing.source_language
    and translation.target_language = pairing.target_language
    and translation.source_word = source.word
    and case when aligned.variant = 'published_code' then translation.file_rank else translation.rank end <= up_to
join members as target
    on target.model = aligned.model
    and target.clustering = aligned.target_clustering
    and target.concept = aligned.target_concept
    and target.word = translation.target_word;

-- Overlap of languages in concepts (COLAP) for several least shares; a row as in the view `colap`.
create macro colap_sweep(thetas := [0.3]) as table
with
levels as (select unnest(thetas)::double as theta),
readings as (
    select unnest([
        {'variant': 'strict', 'unit': 'tokens'},
        {'variant': 'strict', 'unit': 'types'},
        {'variant': 'paper', 'unit': 'tokens'},
        {'variant': 'paper', 'unit': 'types'},
        {'variant': 'published_code', 'unit': 'tokens'}
    ]) as reading
),
totals as (
    select
        model, clustering, baseline, draw, concept,
        count(*) as present,
        sum(num_tokens)::bigint as tokens,
        sum(num_types)::bigint as types,
        -- The two largest parts, and the smallest of those that are there at all.
        max(num_tokens, 2)[2] as second_tokens,
        max(num_types, 2)[2] as second_types,
        min(num_tokens) as least_tokens,
        min(num_types) as least_types
    from concept_languages
    group by all
),
shares as (
    select
        model, clustering, baseline, reading.variant, reading.unit, languages,
        coalesce(
            finite(case when reading.unit = 'tokens' then second_tokens / tokens else second_types / types end), 0
        ) as second,
        case
            when present < len(languages) then 0
            else finite(case when reading.unit = 'tokens' then least_tokens / tokens else least_types / types end)
        end
            as least
    from totals
    join clusterings using (model, clustering), readings
    where reading.variant <> 'published_code' or len(languages) = 2
),
counted as (
    select
        model, clustering, variant, unit, theta, baseline,
        count_if(case when variant = 'published_code' then second > theta else second >= theta end)::bigint as overlapping,
        count_if(case when variant = 'published_code' then least > theta else least >= theta end)::bigint as overlapping_all,
        count(*) as filled
    from shares, levels
    group by all
),
measured as (select * from counted where baseline = 'none'),
random as (select * from counted where baseline = 'random_labels'),
draws as (
    select model, clustering, max(draw) as num_draws from concept_languages group by all
)
select
    model, corpus, stack, convention, layer, num_clusters, seed, clustering, scope, variant, unit, theta,
    num_clusters as concepts,
    measured.filled,
    measured.overlapping,
    measured.overlapping / num_clusters as score,
    wilson_low(measured.overlapping, num_clusters) as score_low,
    wilson_high(measured.overlapping, num_clusters) as score_high,
    measured.overlapping / measured.filled as score_filled,
    measured.overlapping_all,
    measured.overlapping_all / num_clusters as score_all_languages,
    coalesce(random.overlapping, 0) / nullif(num_draws, 0) / num_clusters as null_labels,
    coalesce(random.overlapping_all, 0) / nullif(num_draws, 0) / num_clusters as null_labels_all_languages
from clusterings
join measured using (model, clustering)
join draws using (model, clustering)
left join random using (model, clustering, variant, unit, theta);

-- COLAP at another least share than the view `colap`: colap_at(0.2).
create macro colap_at(at_least) as table
select * from colap_sweep(thetas := [at_least]);
