-- Faithfulness of one model whose texts are cut into other sub-tokens than its tokenizer would, beside the model as it is.
-- key: model, dataset, split, language, method, importance, masking, side, variant
-- source: same weights, same texts, other pieces (Kudo 2018; Provilkov et al. 2020; Hiraoka 2022), see `models.tokenization_sampling`; paired over the examples whose predicted class the cutting leaves as it was; 95 % interval by clusters of those examples (examples.cluster)
-- kept: whole
-- column model: Key of the model with the other sub-tokens.
-- column weights_of: Key of the model that it has the weights of.
-- column sampling: Rate of the sampling of sub-tokens.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column method: Attribution method.
-- column importance: What tokens are ranked by: signed or abs.
-- column mode: hard: whole tokens; soft: parts of word vectors.
-- column masking: What became of tokens not kept.
-- column side: sufficiency or comprehensiveness.
-- column variant: As in faithfulness.
-- column fertility: Sub-tokens per word under the sampling.
-- column fertility_difference: The same minus that of the model as it is.
-- column predicted: Examples that both predict.
-- column unchanged: Those whose predicted class is the same.
-- column ratio: Score over that of random attributions under the sampling, all examples.
-- column base_ratio: The same of the model as it is.
-- column ratio_difference: ratio - base_ratio.
-- column n: Examples with the same predicted class that neither saturates.
-- column clusters: Clusters of them that share a text: what the interval takes as independent.
-- column score: Mean score over them under the sampling.
-- column base_score: The same of the model as it is.
-- column difference: score - base_score.
-- column difference_low: Lower end of the 95 % interval; NULL below ten clusters.
-- column difference_high: Upper end of it.
-- column converged_share: Share of the attributions under the sampling and of the model as it is that converged (faithfulness); NULL for methods without completeness.
-- column num_unconverged: Those that did not: left out of strict, kept in the other variants.
with
interventions as (
    select model, weights_of, tokenization_sampling as sampling
    from models
    where weights_of is not null and tokenization_sampling is not null
),
predicted as (
    select
        interventions.model, cut.dataset, cut.split, cut.language, cut.example_id,
        cut.predicted = whole.predicted as is_unchanged
    from interventions
    join predictions as cut using (model)
    join predictions as whole
        on whole.model = interventions.weights_of
        and whole.dataset = cut.dataset
        and whole.split = cut.split
        and whole.language = cut.language
        and whole.example_id = cut.example_id
),
agreements as (
    select
        model, dataset, split, language,
        count(*)::bigint as predicted,
        count_if(is_unchanged)::bigint as unchanged
    from predicted
    group by all
),
paired as (
    select
        cut.model, cut.dataset, cut.split, cut.language, cut.method, cut.importance, cut.masking, cut.side, cut.variant,
        cut.cluster,
        cut.score,
        whole.score as base_score
    from interventions
    join faithfulness_examples as cut using (model)
    join faithfulness_examples as whole
        on whole.model = interventions.weights_of
        and whole.dataset = cut.dataset
        and whole.split = cut.split
        and whole.language = cut.language
        and whole.example_id = cut.example_id
        and whole.method = cut.method
        and whole.importance = cut.importance
        and whole.masking = cut.masking
        and whole.side = cut.side
        and whole.variant = cut.variant
    -- What is explained is the predicted class: where it is another one, the scores are of two questions.
    where whole.target = cut.target and whole.score is not null and cut.score is not null
        and counts_in(cut.variant, both_converged(cut.converged, whole.converged))
),
clustered as (
    select
        model, dataset, split, language, method, importance, masking, side, variant, cluster,
        count(*)::double as size,
        sum(score) as score,
        sum(base_score) as base_score,
        sum(score - base_score) as difference
    from paired
    group by all
),
differences as (
    select
        model, dataset, split, language, method, importance, masking, side, variant,
        sum(size)::bigint as n,
        count(*)::bigint as clusters,
        sum(score) / sum(size) as score,
        sum(base_score) / sum(size) as base_score,
        sum(difference) / sum(size) as difference,
        cluster_error(
            list(difference order by cluster), list(size order by cluster), sum(difference) / sum(size), sum(size)
        ) as difference_se
    from clustered
    group by all
)
select
    cut.model, interventions.weights_of, interventions.sampling,
    cut.dataset, cut.split, cut.language, cut.method, cut.importance, cut.mode, cut.masking, cut.side, cut.variant,
    cut_tokens.fertility,
    cut_tokens.fertility - whole_tokens.fertility as fertility_difference,
    agreements.predicted,
    agreements.unchanged,
    cut.ratio,
    whole.ratio as base_ratio,
    cut.ratio - whole.ratio as ratio_difference,
    coalesce(differences.n, 0) as n,
    coalesce(differences.clusters, 0) as clusters,
    differences.score,
    differences.base_score,
    differences.difference,
    cluster_low(differences.difference, differences.difference_se, differences.clusters) as difference_low,
    cluster_high(differences.difference, differences.difference_se, differences.clusters) as difference_high,
    list_avg([cut.converged_share, whole.converged_share]) as converged_share,
    cut.num_unconverged + coalesce(whole.num_unconverged, 0) as num_unconverged
from interventions
join faithfulness as cut using (model)
left join faithfulness as whole
    on whole.model = interventions.weights_of
    and whole.dataset = cut.dataset
    and whole.split = cut.split
    and whole.language = cut.language
    and whole.method = cut.method
    and whole.importance = cut.importance
    and whole.masking = cut.masking
    and whole.side = cut.side
    and whole.variant = cut.variant
left join agreements
    on agreements.model = cut.model
    and agreements.dataset = cut.dataset
    and agreements.split = cut.split
    and agreements.language = cut.language
left join fertility as cut_tokens
    on cut_tokens.model = cut.model
    and cut_tokens.dataset = cut.dataset
    and cut_tokens.split = cut.split
    and cut_tokens.language = cut.language
left join fertility as whole_tokens
    on whole_tokens.model = interventions.weights_of
    and whole_tokens.dataset = cut.dataset
    and whole_tokens.split = cut.split
    and whole_tokens.language = cut.language
left join differences
    on differences.model = cut.model
    and differences.dataset = cut.dataset
    and differences.split = cut.split
    and differences.language = cut.language
    and differences.method = cut.method
    and differences.importance = cut.importance
    and differences.masking = cut.masking
    and differences.side = cut.side
    and differences.variant = cut.variant
