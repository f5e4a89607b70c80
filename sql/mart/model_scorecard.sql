-- One model on one dataset: its scores, and the means over target languages of what it is measured by.
-- key: model, dataset, split
-- source: means over the target languages of language_pair_scorecard other than the source; languages without a number are left out of that number's mean
-- kept: by model
-- column model: Key of the model in the study.
-- column family: Architecture family.
-- column num_parameters: Parameters, heads included.
-- column finetuned_languages: Languages it was fine-tuned on.
-- column dataset: Key of the dataset in the study; NULL for a model that is evaluated on none.
-- column split: Part of the dataset: train, dev, test.
-- column task: Task of the dataset.
-- column metric: The task's main score.
-- column source_languages: Source languages that the means are over.
-- column target_languages: Target languages that the means are over, sources left out.
-- column source_score: Mean score in the source languages.
-- column target_score: Mean score in the target languages.
-- column transfer_gap: Mean of source score - target score.
-- column ccta: Mean consistency of token attributions.
-- column ccta_excess: Mean of what it is above the shuffled null.
-- column calign_best: Mean CALIGN in the best layer of each pair.
-- column colap_best: Mean COLAP in the best layer of each pair.
-- column head_rho: Mean rank correlation of head values.
-- column pruning_gain: Mean change of accuracy in a target language when heads that do harm in a source language go.
-- column faithfulness_difference: Mean of target - source faithfulness ratio.
-- column converged_share: Mean share of the attributions behind ccta and faithfulness_difference that converged.
-- column fertility: Mean sub-tokens per word over the dataset's languages.
-- column num_truncated: Examples of the dataset whose input was cut because it was too long.
with
pairs as (
    select *, source_language = target_language as is_self from language_pair_scorecard
),
means as (
    select
        model, dataset, split, task, metric,
        count(distinct source_language) as source_languages,
        count(distinct target_language) filter (not is_self) as target_languages,
        avg(source_score) as source_score,
        avg(target_score) filter (not is_self) as target_score,
        avg(transfer_gap) filter (not is_self) as transfer_gap,
        avg(ccta) filter (not is_self) as ccta,
        avg(ccta_excess) filter (not is_self) as ccta_excess,
        avg(calign_best) filter (not is_self) as calign_best,
        avg(colap_best) filter (not is_self) as colap_best,
        avg(head_rho) filter (not is_self) as head_rho,
        avg(pruning_gain) filter (not is_self) as pruning_gain,
        avg(faithfulness_difference) filter (not is_self) as faithfulness_difference,
        avg(converged_share) filter (not is_self) as converged_share
    from pairs
    group by model, dataset, split, task, metric
),
cut as (
    select model, dataset, split, avg(fertility) as fertility from fertility group by all
),
truncated as (
    select model, dataset, split, sum(num_truncated)::bigint as num_truncated
    from (select distinct model, dataset, split, language, num_truncated from task_scores)
    group by all
)
select
    model, models.family, models.num_parameters, models.finetuned_languages,
    means.* exclude (model),
    cut.fertility, truncated.num_truncated
from means
join models using (model)
left join cut using (model, dataset, split)
left join truncated using (model, dataset, split)
