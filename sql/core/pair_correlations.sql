-- Correlations over pairs of languages, with what can be said of them where pairs share languages.
-- key: population
-- source: Pearson of the values, Spearman of their ranks, both within strata (values and ranks less their stratum's mean, ranks divided by one more than its number); 95 % intervals: Fisher's z with Student's t and the variance of a two-way cluster jackknife by languages less most of that by pairs (macro two_way_error; Cameron, Gelbach and Miller 2011); p: two-sided, of Spearman's rho, a permutation test by languages (quadratic assignment, Hubert 1987; Mantel 1967)
-- kept: whole
-- column population: What the correlation is over, as in correlated_pairs.
-- column n: Pairs, each of a model.
-- column languages: Source or target languages among them, whichever are more: what p and intervals take as independent.
-- column pearson: Pearson correlation; NULL for fewer than four languages, and where a side does not vary.
-- column pearson_low: Lower end of the 95 % interval; NULL for fewer than ten languages, for a correlation of 1 or -1, where leaving out a language leaves none, and with pairs of a language with itself.
-- column pearson_high: Upper end of it.
-- column spearman: Spearman correlation; NULL as pearson.
-- column spearman_low: Lower end of the 95 % interval; NULL as pearson_low.
-- column spearman_high: Upper end of it.
-- column permutations: Orders of the languages that p is over: all of up to seven languages, else 1999 random ones; NULL where no two languages can change places.
-- column p: Two-sided p-value of spearman, never 0; NULL for fewer than four languages, without permutations, and with pairs of a language with itself.
-- column converged_share: Mean over the pairs of the share of attributions that converged; NULL where there are none.
-- column num_unconverged: Attributions behind them that did not converge: left out of strict, kept in the other variants; NULL where that is not told.
with
-- Models that were made alike but for the language count as one row of languages: so languages can change places also
-- where each model has a source language of its own. `shelf` numbers the models of one source language.
pairs as (
    select
        population, stratum, source_language, target_language, converged_share, num_unconverged,
        struct_pack(
            dataset := stratum.dataset, split := stratum.split,
            shelf := dense_rank() over (
                partition by population, stratum.dataset, stratum.split, source_language order by stratum.model
            )
        ) as shelf,
        a - avg(a) over (partition by population, stratum) as a,
        b - avg(b) over (partition by population, stratum) as b,
        average_rank((population, stratum), a) as rank_a,
        average_rank((population, stratum), b) as rank_b,
        count(*) over (partition by population, stratum) as of_stratum
    from correlated_pairs
),
-- The mean rank of n is (n + 1) / 2.
centred as (
    select * exclude (rank_a, rank_b, of_stratum),
        rank_a / (of_stratum + 1) - 0.5 as rank_a, rank_b / (of_stratum + 1) - 0.5 as rank_b
    from pairs
),
sizes as (
    select
        population,
        count(*) as n,
        greatest(count(distinct source_language), count(distinct target_language)) as languages,
        coalesce(bool_or(source_language = target_language), false) as has_self,
        within_correlation(sum(a * a), sum(b * b), sum(a * b)) as pearson,
        within_correlation(sum(rank_a * rank_a), sum(rank_b * rank_b), sum(rank_a * rank_b)) as spearman,
        avg(converged_share) as converged_share,
        sum(num_unconverged)::bigint as num_unconverged
    from centred
    group by population
),
-- Sums of a stratum, and of what is left out of it with a language, or with a pair of languages.
totals as (
    select
        population, stratum,
        count(*) as w,
        sum(a * a) as aa, sum(b * b) as bb, sum(a * b) as ab,
        sum(rank_a * rank_a) as raa, sum(rank_b * rank_b) as rbb, sum(rank_a * rank_b) as rab
    from centred
    group by population, stratum
),
touched as (
    select centred.*, unnest([source_language, target_language]) as language
    from centred
    join sizes using (population)
    where languages >= 10 and not has_self
),
-- One that is in every pair cannot be left out.
free as (
    select population, language
    from touched
    join sizes using (population)
    group by population, language
    having count(*) < any_value(sizes.n)
),
cuts as (
    select touched.*, [language] as cut, 'language' as kind
    from touched
    join free using (population, language)
    union all
    select centred.*, null, list_sort([source_language, target_language]), 'pair'
    from centred
    join free as s on s.population = centred.population and s.language = source_language
    join free as t on t.population = centred.population and t.language = target_language
),
left_out as (
    select
        population, kind, cut, stratum,
        count(*) as w,
        sum(a) as a, sum(b) as b, sum(a * a) as aa, sum(b * b) as bb, sum(a * b) as ab,
        sum(rank_a) as ra, sum(rank_b) as rb,
        sum(rank_a * rank_a) as raa, sum(rank_b * rank_b) as rbb, sum(rank_a * rank_b) as rab
    from cuts
    group by population, kind, cut, stratum
),
-- Sums of squares about the stratum's new mean: what is left sums to minus what is left out.
lost as (
    select
        population, kind, cut,
        sum(squares_lost(totals.w, left_out.w, a, a, left_out.aa)) as aa,
        sum(squares_lost(totals.w, left_out.w, b, b, left_out.bb)) as bb,
        sum(squares_lost(totals.w, left_out.w, a, b, left_out.ab)) as ab,
        sum(squares_lost(totals.w, left_out.w, ra, ra, left_out.raa)) as raa,
        sum(squares_lost(totals.w, left_out.w, rb, rb, left_out.rbb)) as rbb,
        sum(squares_lost(totals.w, left_out.w, ra, rb, left_out.rab)) as rab
    from left_out
    join totals using (population, stratum)
    group by population, kind, cut
),
whole as (
    select population, sum(aa) as aa, sum(bb) as bb, sum(ab) as ab, sum(raa) as raa, sum(rbb) as rbb, sum(rab) as rab
    from totals
    group by population
),
deviations as (
    select
        population, kind,
        fisher_z(within_correlation(whole.aa - lost.aa, whole.bb - lost.bb, whole.ab - lost.ab)) - fisher_z(pearson) as pearson,
        fisher_z(within_correlation(whole.raa - lost.raa, whole.rbb - lost.rbb, whole.rab - lost.rab)) - fisher_z(spearman) as spearman
    from lost
    join whole using (population)
    join sizes using (population)
),
jackknifed as (
    select
        population,
        jackknife_variance(list(pearson) filter (kind = 'language')) as pearson_by_language,
        jackknife_variance(list(pearson) filter (kind = 'pair')) as pearson_by_pair,
        jackknife_variance(list(spearman) filter (kind = 'language')) as spearman_by_language,
        jackknife_variance(list(spearman) filter (kind = 'pair')) as spearman_by_pair,
        count_if(kind = 'pair') as pairs_left_out
    from deviations
    group by population
),
spread as (
    select
        population,
        case when pairs_left_out = 0 then sqrt(pearson_by_language)
            else two_way_error(pearson_by_language, pearson_by_pair, languages) end as pearson_se,
        case when pairs_left_out = 0 then sqrt(spearman_by_language)
            else two_way_error(spearman_by_language, spearman_by_pair, languages) end as spearman_se
    from jackknifed
    join sizes using (population)
),
-- Populations over the same pairs share their permutations.
listed as (
    select
        population,
        list([coalesce(shelf.dataset, ''), coalesce(shelf.split, ''), shelf.shelf::varchar, source_language, target_language] order by shelf, source_language, target_language)
            as design,
        list(rank_a order by shelf, source_language, target_language) as ranks_a,
        list(rank_a * rank_a order by shelf, source_language, target_language) as squares_a,
        list_append(list(rank_b order by shelf, source_language, target_language), 0.0) as ranks_b,
        any_value(abs(spearman)) as observed
    from centred
    join sizes using (population)
    where languages > 3 and not has_self and spearman is not null
    group by population
),
designs as (
    select design, row_number() over (order by design) as number from (select distinct design from listed)
),
places as (
    select number, place, design[place][1:3] as shelf, design[place][4] as source_language, design[place][5] as target_language
    from designs, unnest(range(1, len(design) + 1)) as places(place)
),
-- Languages can change places where they are the source and the target of as many pairs on every shelf.
parts as (
    select number, language, shelf, part, count(*) as pairs
    from (
        select number, shelf, source_language as language, 'source' as part from places
        union all
        select number, shelf, target_language, 'target' from places
    )
    group by number, language, shelf, part
),
classes as (
    select number, language, list(list_concat(shelf, [part, pairs::varchar]) order by shelf, part) as class from parts group by number, language
),
seats as (
    select
        number, language, class,
        row_number() over (partition by number order by language) as name,
        row_number() over (partition by number, class order by language) as seat,
        count(*) over (partition by number, class) as size
    from classes
),
kinds as (
    select number, max(size) as largest, count_if(size > 1) as movable from seats group by number
),
moved as (
    select number, draw, language, class,
        row_number() over (partition by number, draw, class order by counted_uniform(draw, name)) as seat
    from seats
    join kinds using (number)
    cross join range(1, 2000) as draws(draw)
    where largest > 1 and (movable > largest or largest > 7)
    union all
    select number, draw, language, class, case when size > 1 then orders.places[seat] else seat end
    from seats
    join kinds using (number)
    join (select *, row_number() over (order by things, places) as draw from orders_up_to(7)) as orders on orders.things = largest
    where largest > 1 and movable = largest and largest <= 7
),
moves as (
    select moved.number, draw, moved.language, seats.language as onto
    from moved
    join seats on seats.number = moved.number and seats.class = moved.class and seats.seat = moved.seat
),
-- Where the number of each pair comes from; that of a pair which is not there comes from behind the last one, where 0 is.
reordered as (
    select
        places.number, s.draw,
        list(coalesce(from_there.place, len(design) + 1) order by places.place) as order_of,
        list(case when from_there.place is null then 0.0 else 1.0 end order by places.place) as there
    from places
    join designs using (number)
    join moves as s on s.number = places.number and s.language = places.source_language
    join moves as t on t.number = places.number and t.language = places.target_language and t.draw = s.draw
    left join places as from_there
        on from_there.number = places.number and from_there.shelf = places.shelf
        and from_there.source_language = s.onto and from_there.target_language = t.onto
    group by places.number, s.draw
),
distances as (
    select
        population,
        movable > largest or largest > 7 as is_drawn,
        observed,
        abs(permuted_correlation(ranks_a, squares_a, ranks_b, order_of, there)) as rho
    from listed
    join designs using (design)
    join kinds using (number)
    join reordered using (number)
),
tested as (
    select
        population,
        count(*) as permutations,
        (count_if(rho >= observed - 1e-9) + is_drawn::int) / (count(*) + is_drawn::int) as p
    from distances
    group by population, is_drawn
)
select
    sizes.population,
    n,
    languages,
    case when languages > 3 then pearson end as pearson,
    tanh(fisher_z(pearson) - student_quantile(languages - 1) * pearson_se) as pearson_low,
    tanh(fisher_z(pearson) + student_quantile(languages - 1) * pearson_se) as pearson_high,
    case when languages > 3 then spearman end as spearman,
    tanh(fisher_z(spearman) - student_quantile(languages - 1) * spearman_se) as spearman_low,
    tanh(fisher_z(spearman) + student_quantile(languages - 1) * spearman_se) as spearman_high,
    permutations,
    p,
    converged_share,
    num_unconverged
from sizes
left join spread using (population)
left join tested using (population)
