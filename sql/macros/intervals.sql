-- Confidence intervals from summary statistics. All are two-sided; z is the standard normal quantile, 1.96 for 95 %.
-- None has width 0: where the data show no spread at all, a formula that takes the spread from them knows nothing, and
-- the interval is NULL. NULL, NaN and infinite arguments give NULL.

-- Wilson score interval of a share: `successes` of `n`, which may be an effective (fractional) sample size.
-- Stays inside [0, 1] and keeps its coverage near the ends. NULL where n is 0. Source: Wilson (1927), eq. 4.
create macro wilson_low(successes, n, z := 1.959963984540054) as
    case when n > 0 and isfinite(n) and isfinite(successes) and isfinite(z) then greatest(0.0, least(1.0,
        (successes + z * z / 2 - z * sqrt(greatest(0.0, successes * (n - successes) / n) + z * z / 4)) / (n + z * z)
    )) end;

create macro wilson_high(successes, n, z := 1.959963984540054) as
    case when n > 0 and isfinite(n) and isfinite(successes) and isfinite(z) then greatest(0.0, least(1.0,
        (successes + z * z / 2 + z * sqrt(greatest(0.0, successes * (n - successes) / n) + z * z / 4)) / (n + z * z)
    )) end;

-- Whether a standard deviation says more than that of equal numbers, which is what rounding leaves and seldom 0.
create macro has_spread(mean, sd) as
    coalesce(isfinite(mean) and isfinite(sd) and sd > 1e-12 * greatest(1.0, abs(mean)), false);

-- Fisher interval of a Pearson correlation r over n pairs: tanh(atanh(r) -/+ z / sqrt(n - 3)).
-- NULL for fewer than four pairs, an undefined r, and an r of 1 or -1. Source: Fisher (1915).
create macro pearson_low(r, n, z := 1.959963984540054) as
    case when n > 3 and isfinite(n) and abs(r) < 1 - 1e-12 then tanh(atanh(r) - z / sqrt(n - 3)) end;

create macro pearson_high(r, n, z := 1.959963984540054) as
    case when n > 3 and isfinite(n) and abs(r) < 1 - 1e-12 then tanh(atanh(r) + z / sqrt(n - 3)) end;

-- The same for a Spearman correlation, whose variance is larger: (1 + r^2 / 2) / (n - 3).
-- Source: Bonett and Wright (2000), "Sample size requirements for estimating Pearson, Kendall and Spearman correlations".
create macro spearman_low(r, n, z := 1.959963984540054) as
    case when n > 3 and isfinite(n) and abs(r) < 1 - 1e-12
    then tanh(atanh(r) - z * sqrt((1 + r * r / 2) / (n - 3))) end;

create macro spearman_high(r, n, z := 1.959963984540054) as
    case when n > 3 and isfinite(n) and abs(r) < 1 - 1e-12
    then tanh(atanh(r) + z * sqrt((1 + r * r / 2) / (n - 3))) end;
