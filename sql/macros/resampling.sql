-- One draw of a Poisson(1) variable from a uniform number in [0, 1): how often a resample holds an observation.
create macro poisson_one(u) as
    case
        when u < 0.36787944117144233 then 0.0
        when u < 0.7357588823428847 then 1.0
        when u < 0.9196986029286058 then 2.0
        when u < 0.9810118431238462 then 3.0
        when u < 0.9963401531726563 then 4.0
        when u < 0.9994058151824183 then 5.0
        else 6.0
    end;

-- Weights of n observations in one resample of the Poisson bootstrap, a list; `draw` numbers the resample, and the same
-- numbers give the same weights. Source: Hanley and MacGibbon (2006), "Creating non-parametric bootstrap samples using
-- Poisson frequencies".
create macro resample_weights(n, draw) as
    list_transform(range(n), lambda i: poisson_one((hash(draw, i) % 1000000007) / 1000000007.0));

-- Mean of a list of numbers in one resample; NULL where the resample is empty.
create macro resampled_mean(numbers, weights) as
    list_inner_product(numbers, weights) / nullif(list_sum(weights), 0);

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
