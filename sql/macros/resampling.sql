-- A number as it is, NULL where it is NaN or infinite.
create macro finite(x) as case when isfinite(x) then x end;

-- Whether a list has a number in every place.
create macro is_complete(numbers) as
    coalesce(list_bool_and(list_transform(numbers, lambda x: coalesce(isfinite(x), false))), false);

-- One round of mixing a number below 2^31 - 1: squaring modulo that prime, in whole numbers, the same everywhere.
create macro mixed(x) as (x * x + 1013904223) % 2147483647;

-- A number in (0, 1) that looks random, fixed by two counters.
create macro counted_uniform(i, j) as
    (mixed(mixed(mixed(mixed((i * 7919 + j * 104729 + 1) % 2147483647)))) + 0.5) / 2147483647.0;

-- Weights of n observations in one resample of the Bayesian bootstrap, a list: exponential with mean 1, so none is ever
-- all zero. `draw` numbers the resample, and the same numbers give the same weights. Source: Rubin (1981), "The Bayesian
-- bootstrap".
create macro resample_weights(n, draw) as
    case when draw is not null then list_transform(range(n), lambda i: -ln(counted_uniform(draw, i))) end;

-- Ends of the 95 % interval of a number that was resampled: a list of two. NULL where all resamples agree, since then the
-- data show no spread to tell an interval by.
create macro interval_of(resampled) as
    case when quantile_cont(finite(resampled), 0.975) - quantile_cont(finite(resampled), 0.025) > 1e-12
        then quantile_cont(finite(resampled), [0.025, 0.975])
    end;

-- Two-sided p-value of Student's t with df degrees of freedom; NULL where df is 0. The probability between -t and t is
-- 2 gamma((df + 1) / 2) / (sqrt(pi) gamma(df / 2)) times the integral of cos(x)^(df - 1) from 0 to atan(|t| / sqrt(df)),
-- by Simpson's rule on 400 panels. Its error is below 1e-9, and so no p is given as less than that, least of all as 0.
-- Source: Student (1908).
create macro student_p(t, df) as
    case when df > 0 and isfinite(df) and isfinite(t) then
        greatest(1e-9, least(1.0, 1 - 2 * exp(lgamma((df + 1) / 2.0) - lgamma(df / 2.0)) / sqrt(pi())
            * (atan(abs(t) / sqrt(df)) / 1200)
            * list_sum(list_transform(range(401), lambda i:
                case when i = 0 or i = 400 then 1 when i % 2 = 1 then 4 else 2 end
                * pow(cos(atan(abs(t) / sqrt(df)) * i / 400), df - 1)))))
    end;

-- A p-value after Holm's correction over all p-values of its family, a list that it is in too; NULL ones do not count.
-- Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
create macro holm(p, family) as
    case when isfinite(p) and list_count(family) > 0 then least(1.0, list_max(list_transform(
        list_sort(list_filter(family, lambda x: x is not null)),
        lambda x, i: case when x <= p then x * (list_count(family) - i + 1) else 0.0 end
    ))) end;

-- Every order of 2, 3, ... up to `most` things: a list of their places.
create macro orders_up_to(most) as table
    with recursive grown as (
        select things, []::bigint[] as places from range(2, most + 1) as sizes(things)
        union all
        select things, list_append(places, place)
        from grown, range(1, most + 1) as next(place)
        where len(places) < things and place <= things and not list_contains(places, place)
    )
    select things, places from grown where len(places) = things;

-- Pearson correlation from sums of squares and of products about the mean. NULL where a side does not vary.
create macro within_correlation(aa, bb, ab) as
    case when aa > 1e-20 and bb > 1e-20 and isfinite(aa) and isfinite(bb) and isfinite(ab / sqrt(aa) / sqrt(bb)) then
        greatest(-1.0, least(1.0, ab / sqrt(aa) / sqrt(bb))) end;

-- Fisher's z of a correlation; NULL for one of 1 or -1, whose z is infinite.
create macro fisher_z(r) as case when abs(r) < 1 - 1e-9 then atanh(r) end;

-- What a sum of products about the mean, of `total` values whose sums are 0, loses with `w` of them whose sums are a and b
-- and whose sum of products is ab: what is left has the sums -a and -b.
create macro squares_lost(total, w, a, b, ab) as
    case when total > w then ab + a * b / (total - w) when total <= w and isfinite(a + b) then ab end;

-- Variance of a statistic from what it changes by when each cluster is left out. NULL where one of them cannot be told.
-- Source: Efron and Stein (1981), "The jackknife estimate of variance".
create macro jackknife_variance(changes) as
    case when len(changes) > 1 and is_complete(changes) then
        (len(changes) - 1.0) / len(changes)
        * list_sum(list_transform(changes, lambda x: (x - list_avg(changes)) ^ 2))
    end;

-- Standard error where pairs share the one or the other of their languages: the variance by languages counts each pair
-- twice, so that by pairs is taken off it, and G / (G - 1) for few clusters. Of all that is taken off the intervals are
-- too short in small squares of languages: three quarters, and no more than half of it, keep their coverage
-- (tests/benchmarks/coverage.py).
-- Source: Cameron, Gelbach and Miller (2011), "Robust inference with multiway clustering", eq. 2.11 and section 2.3.
create macro two_way_error(by_language, by_pair, languages) as
    case when languages > 1 and by_language >= 0 and isfinite(by_language) and isfinite(by_pair) then
        finite(sqrt(greatest(by_language - 0.75 * by_pair, by_language / 2) * languages / (languages - 1)))
    end;

-- The 97.5 % quantile of Student's t. NULL below nine degrees of freedom, from where its error is below 1e-4.
-- Source: Abramowitz and Stegun (1964), 26.7.5.
create macro student_quantile(df) as
    case when df >= 9 and isfinite(df) then
        1.959964 + 2.372271 / df + 2.822499 / df ^ 2 + 2.555850 / df ^ 3 + 1.589534 / df ^ 4
    end;

-- Correlation of centred numbers, given with their squares, with others that are put into an order: places in a list that
-- has one more number, 0, for what is nowhere. `there` has 1 for each that is somewhere, else 0; over those.
create macro permuted_correlation(a, squares, b_and_zero, places, there) as
    within_correlation(
        list_inner_product(squares, there),
        list_inner_product(list_select(b_and_zero, places), list_select(b_and_zero, places)),
        list_inner_product(a, list_select(b_and_zero, places))
    );
