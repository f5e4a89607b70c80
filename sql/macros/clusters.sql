-- Standard errors and 95 % intervals where examples share texts. The cluster (a premise, a paragraph, a document; see
-- examples.cluster) is what is independent, not the example: every number is a sum over clusters or a ratio of two such
-- sums, its error is by leaving out one cluster at a time, and its quantile is Student's with one degree of freedom less
-- than there are clusters. Below ten clusters there is no interval (student_quantile). Their coverage:
-- tests/benchmarks/coverage.py.

-- Standard error of value = sum(numerators) / sum(denominators), lists with a number for each cluster; `total` is the sum
-- of the denominators. A mean has the clusters' sums and sizes. NULL for fewer than two clusters, where all of them agree,
-- and where what is left without one of them has no value.
-- Source: Efron and Stein (1981), "The jackknife estimate of variance"; Cameron and Miller (2015), "A practitioner's guide
-- to cluster-robust inference", section VI.A.
create macro cluster_error(numerators, denominators, value, total) as
    case when len(numerators) > 1 and is_complete(numerators) and is_complete(denominators) and isfinite(value)
        and list_max(denominators) < total
    then error_with_spread(value, sqrt((len(numerators) - 1.0) / len(numerators) * list_sum(list_transform(
        list_zip(numerators, denominators), lambda x: ((value * x[2] - x[1]) / (total - x[2])) ^ 2
    )))) end;

-- A standard error; NULL where it is no more than what rounding leaves of equal numbers.
create macro error_with_spread(value, error) as case when has_spread(value, error) then error end;

-- Ends of the interval of such a value. It ends where the values can lie no further, at `lowest` or `highest`.
create macro cluster_low(value, error, clusters, lowest := null) as
    case when has_spread(value, error) and isfinite(value - student_quantile(clusters - 1) * error)
        then greatest(value - student_quantile(clusters - 1) * error, lowest) end;

create macro cluster_high(value, error, clusters, highest := null) as
    case when has_spread(value, error) and isfinite(value + student_quantile(clusters - 1) * error)
        then least(value + student_quantile(clusters - 1) * error, highest) end;

-- As many independent examples as would give a share its standard error: as many as there are where each is a cluster of
-- its own, and never more than `most`. Without an error, where all examples agree, as many as there are clusters.
create macro effective_size(share, error, clusters, most := null) as
    case when isfinite(error) and error > 1e-9 and clusters > 1 and isfinite(share)
        then least(finite(share * (1 - share) / error ^ 2 * clusters / (clusters - 1.0)), most)
        when clusters > 0 then clusters
    end;

-- The quantile for a share: the normal one where clusters are single examples, whose spread follows from the share.
create macro share_quantile(clusters, n) as
    case when clusters = n and n > 9 then 1.959963984540054 else student_quantile(clusters - 1) end;

-- Ends of the interval of a share of n examples: Wilson's at the effective size. Source: Wilson (1927); Dean and Pagano
-- (2015), "Evaluating confidence interval methods for binomial proportions in clustered surveys".
create macro cluster_share_low(share, error, clusters, n, most := null) as
    wilson_low(
        share * effective_size(share, error, clusters, most := most), effective_size(share, error, clusters, most := most),
        z := share_quantile(clusters, n)
    );

create macro cluster_share_high(share, error, clusters, n, most := null) as
    wilson_high(
        share * effective_size(share, error, clusters, most := most), effective_size(share, error, clusters, most := most),
        z := share_quantile(clusters, n)
    );
