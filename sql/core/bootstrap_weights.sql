-- One resample of the bootstrap behind the errors of translation_scores: a weight for each block of clusters.
-- key: resample
-- source: Bayesian bootstrap (Rubin 1981): independent exponential weights with mean 1, -ln(u) of a counted pseudo-random u, so that every select gives the same interval
-- kept: whole
-- column resample: Number of the resample, 0 to 999.
-- column weights: Weight of block 1 to 400; clusters are dealt to blocks at random, one to a block where there are at most 400.
select
    resample,
    resample_weights(400, resample) as weights
from range(1000) as resamples(resample)
