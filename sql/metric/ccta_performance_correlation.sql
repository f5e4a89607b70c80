-- Correlation of consistency (CCTA) with task performance, over target languages or over all cells of a study.
-- key: scope, model, source_language, dataset, split, method, target_policy, output, space, unit, normalization, measure, cells, variant
-- source: pair_correlations: Pearson and Spearman within models; intervals and p take languages and not cells as independent, and are given without the self pairs only, whose consistency is 1 by definition
-- kept: whole
-- column scope: model: the target languages of one model and source language; study: all models and source languages together, each model about its own mean.
-- column model: Key of the model in the study; NULL for scope study.
-- column source_language: Language whose prediction and attributions are the reference; NULL for scope study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column method: Attribution method.
-- column target_policy: How the class was chosen: source_prediction, own_prediction or gold.
-- column output: As in ccta.
-- column space: Shared space of the similarities, as the study names it.
-- column unit: What mass sits on: word or token.
-- column normalization: Signed attributions to weights: abs, relu, min_max or softmax.
-- column measure: What is correlated with the target language's performance: score, excess_uniform or excess_shuffled.
-- column cells: all: with the self pairs; off_diagonal: without them.
-- column variant: As in ccta.
-- column metric: The measure of performance: accuracy of classes, f1 of answers.
-- column n: Cells, each a model, a source and a target language.
-- column languages: Source or target languages among them, whichever are more: what p and intervals take as independent.
-- column pearson: Pearson correlation; NULL for fewer than four languages, and where a side does not vary.
-- column pearson_low: Lower end of the 95 % interval (cluster jackknife by languages); NULL for fewer than ten languages, for a correlation of 1 or -1, and with self pairs.
-- column pearson_high: Upper end of it.
-- column spearman: Spearman correlation; NULL as pearson.
-- column spearman_low: Lower end of the 95 % interval; NULL as pearson_low.
-- column spearman_high: Upper end of it.
-- column permutations: Orders of the languages that p is over: all of up to seven languages, else 1999 random ones; NULL where no two languages can change places.
-- column p: Two-sided p-value of spearman by permuting languages, never 0; NULL for fewer than four languages, without permutations, and with self pairs.
-- column converged_share: Mean over the cells of ccta.converged_share.
-- column num_unconverged: Pairs behind them of which a side did not converge: left out of strict.
select
    population.scope as scope,
    population.model as model,
    population.source_language as source_language,
    population.dataset as dataset,
    population.split as split,
    population.method as method,
    population.target_policy as target_policy,
    population.output as output,
    population.space as space,
    population.unit as unit,
    population.normalization as normalization,
    population.metric_a as measure,
    population.cells as cells,
    population.variant as variant,
    population.metric_b as metric,
    n,
    languages,
    pearson, pearson_low, pearson_high,
    spearman, spearman_low, spearman_high,
    permutations,
    p,
    converged_share,
    num_unconverged
from pair_correlations
where population.method is not null
