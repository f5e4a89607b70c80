-- Consistency (CCTA) of one source language with all target languages together.
-- key: model, dataset, split, method, target_policy, output, space, unit, normalization, source_language, variant
-- source: unweighted mean over the target languages of view ccta; the published "overall" columns include the self pair, which scores 1 by identity
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column method: Attribution method.
-- column target_policy: How the class was chosen: source_prediction, own_prediction or gold.
-- column output: As in ccta.
-- column space: Shared space of the similarities, as the study names it.
-- column unit: What mass sits on: word or token.
-- column normalization: Signed attributions to weights: abs, relu, min_max or softmax.
-- column source_language: Language whose prediction and attributions are the reference.
-- column variant: As in ccta.
-- column num_targets: Other languages that are compared with it.
-- column score_with_self: Mean score with the self pair, as published; NULL if the self pair was not measured.
-- column score_without_self: Mean score over the other languages.
-- column null_uniform: Mean over the other languages of the score with uniform weights.
-- column null_shuffled: Mean over the other languages of the score with shuffled weights.
-- column excess_uniform: Mean over the other languages of the excess over the uniform null.
-- column excess_shuffled: Mean over the other languages of the excess over the shuffled null.
-- column converged_share: Mean over the other languages of ccta.converged_share.
-- column num_unconverged: Pairs with them of which a side did not converge: left out of strict.
select
    model, dataset, split, method, target_policy, output, space, unit, normalization, source_language, variant,
    count_if(not is_self and n > 0)::bigint as num_targets,
    case when bool_or(is_self and n > 0) then avg(score) end as score_with_self,
    avg(score) filter (not is_self) as score_without_self,
    avg(null_uniform) filter (not is_self) as null_uniform,
    avg(null_shuffled) filter (not is_self) as null_shuffled,
    avg(excess_uniform) filter (not is_self) as excess_uniform,
    avg(excess_shuffled) filter (not is_self) as excess_shuffled,
    avg(converged_share) filter (not is_self) as converged_share,
    coalesce(sum(num_unconverged) filter (not is_self), 0)::bigint as num_unconverged
from ccta
group by all
