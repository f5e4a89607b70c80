-- How two metrics go together over language pairs: of one model and dataset, or of all of a study.
-- key: scope, model, dataset, split, metric_a, metric_b
-- source: pair_correlations: Pearson and Spearman over the rows of language_pair_scorecard with different languages that have both, within a model and dataset; metrics that are computed from the same quantity (macro scorecard_metrics) are left out; intervals and p take languages and not pairs as independent; Holm over the pairs of metrics of the same scope
-- kept: whole
-- column scope: model: one model and dataset; study: all of them together, each about its own mean.
-- column model: Key of the model in the study; NULL for scope study.
-- column dataset: Key of the dataset in the study; NULL for scope study.
-- column split: Part of the dataset; NULL for scope study.
-- column metric_a: One column of language_pair_scorecard.
-- column metric_b: Another one, later in the alphabet.
-- column n: Language pairs that have both, of each model.
-- column languages: Source or target languages among them, whichever are more: what p and intervals take as independent.
-- column pearson: Pearson correlation; NULL for fewer than four languages, and where a side does not vary.
-- column pearson_low: Lower end of the 95 % interval (cluster jackknife by languages); NULL for fewer than ten languages, for a correlation of 1 or -1, and where leaving out a language leaves none.
-- column pearson_high: Upper end of it.
-- column spearman: Spearman correlation; NULL as pearson.
-- column spearman_low: Lower end of the 95 % interval; NULL as pearson_low.
-- column spearman_high: Upper end of it.
-- column permutations: Orders of the languages that p is over: all of up to seven languages, else 1999 random ones; NULL where no two languages can change places.
-- column p: Two-sided p-value of spearman by permuting languages, never 0; NULL for fewer than four languages, and without permutations.
-- column tests: Correlations of the scope that Holm's correction is over.
-- column holm_p: p after Holm's correction.
-- column converged_share: Mean over the pairs of the share of attributions that converged, where one of the metrics is made from attributions; else NULL.
with
families as (
    select
        *,
        list(p) over (partition by population.scope, population.model, population.dataset, population.split) as family_p
    from pair_correlations
    where population.method is null
)
select
    population.scope as scope,
    population.model as model,
    population.dataset as dataset,
    population.split as split,
    population.metric_a as metric_a,
    population.metric_b as metric_b,
    n,
    languages,
    pearson, pearson_low, pearson_high,
    spearman, spearman_low, spearman_high,
    permutations,
    p,
    list_count(family_p) as tests,
    holm(p, family_p) as holm_p,
    converged_share
from families
