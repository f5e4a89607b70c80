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

-- The least p-value that a permutation test of two rankings like this one can come to: the share of all orders that
-- leave it as it is, ties included, or turn it round. The exact one of Spearman's rho of 1 or -1.
create macro least_permutation_p(ranks) as
    case when len(ranks) > 0 and is_complete(ranks) then least(1.0, exp(
        list_sum(list_transform(list_distinct(ranks),
            lambda x: lgamma(len(list_filter(ranks, lambda y: y = x)) + 1.0)))
        - lgamma(len(ranks) + 1.0)
    ) * case when list_sort(ranks) = list_sort(list_transform(ranks, lambda x: len(ranks) + 1.0 - x)) then 2 else 1 end) end;

-- Pearson correlation under weights, from weighted sums: of the weights, of a, b, a * a, b * b and a * b. NULL where a
-- side does not vary.
create macro correlation_of_sums(w, a, b, aa, bb, ab) as
    case
        when w * aa - a * a > 1e-12 * w * aa and w * bb - b * b > 1e-12 * w * bb
            and isfinite((w * ab - a * b) / sqrt((w * aa - a * a) * (w * bb - b * b))) then
            greatest(-1.0, least(1.0, (w * ab - a * b) / sqrt((w * aa - a * a) * (w * bb - b * b))))
    end;
