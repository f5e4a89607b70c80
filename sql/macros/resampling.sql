-- One round of mixing a number below 2^31 - 1: squaring modulo that prime, in whole numbers, the same everywhere.
create macro mixed(x) as (x * x + 1013904223) % 2147483647;

-- A number in (0, 1) that looks random, fixed by two counters.
create macro counted_uniform(i, j) as
    (mixed(mixed(mixed(mixed((i * 7919 + j * 104729 + 1) % 2147483647)))) + 0.5) / 2147483647.0;

-- Weights of n observations in one resample of the Bayesian bootstrap, a list: exponential with mean 1, so none is ever
-- all zero. `draw` numbers the resample, and the same numbers give the same weights. Source: Rubin (1981), "The Bayesian
-- bootstrap".
create macro resample_weights(n, draw) as
    list_transform(range(n), lambda i: -ln(counted_uniform(draw, i)));

-- Mean of a list of numbers in one resample.
create macro resampled_mean(numbers, weights) as
    list_inner_product(numbers, weights) / list_sum(weights);

-- Two-sided p-value of Student's t with df degrees of freedom; NULL where df is 0. The probability between -t and t is
-- 2 gamma((df + 1) / 2) / (sqrt(pi) gamma(df / 2)) times the integral of cos(x)^(df - 1) from 0 to atan(|t| / sqrt(df)),
-- by Simpson's rule on 400 panels (its error is below 1e-9). Source: Student (1908).
create macro student_p(t, df) as
    case when df > 0 and t is not null then
        greatest(0.0, least(1.0, 1 - 2 * exp(lgamma((df + 1) / 2.0) - lgamma(df / 2.0)) / sqrt(pi())
            * (atan(abs(t) / sqrt(df)) / 1200)
            * list_sum(list_transform(range(401), lambda i:
                case when i = 0 or i = 400 then 1 when i % 2 = 1 then 4 else 2 end
                * pow(cos(atan(abs(t) / sqrt(df)) * i / 400), df - 1)))))
    end;

-- Pearson correlation under weights, from weighted sums: of the weights, of a, b, a * a, b * b and a * b. NULL where a
-- side does not vary.
create macro correlation_of_sums(w, a, b, aa, bb, ab) as
    case
        when w * aa - a * a > 1e-12 * w * aa and w * bb - b * b > 1e-12 * w * bb then
            greatest(-1.0, least(1.0, (w * ab - a * b) / sqrt((w * aa - a * a) * (w * bb - b * b))))
    end;
