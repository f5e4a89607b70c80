-- What removing a mask's players changes in one language.
-- key: model, dataset, split, language, ranking, mask_language, draw, selection, num_removed
-- source: accuracy after - before on the same examples, none of which heads were valued on; paired bootstrap over clusters (examples.cluster), which takes them and not examples as independent; Holm over the languages that the same kind of mask is tried on
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Dataset that the mask is evaluated on.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language that the mask is evaluated on.
-- column ranking: What orders the players: shapley.<sampler>, a method of head_importance, or random.
-- column mask_language: Language that the mask was made in.
-- column draw: Number of the random mask; 0 for the others.
-- column selection: strict, asymptotic, paper: every player shown to do harm; same_size: as many by another ranking; curve: a given number; zero_shot: a given number, tried on every language.
-- column num_removed: Players removed.
-- column is_targeted: The mask was made in the language that it is evaluated on; otherwise it is zero-shot.
-- column num_examples: Examples compared.
-- column clusters: Clusters of them that share a text: what is resampled.
-- column before: Accuracy of the whole model, a share.
-- column after: Accuracy of the pruned model, a share.
-- column effect: after - before.
-- column effect_low: Lower end of its 95 % interval (BCa bootstrap over clusters, widened for few of them; where all change alike, by how rare another change can still be; 0 where no player is removed; NULL below ten clusters).
-- column effect_high: Upper end of it.
-- column bootstrap_p: Two-sided p-value of the paired bootstrap.
-- column mcnemar_p: Exact McNemar test; NULL in tagging, and where examples share clusters.
-- column tests: Tests of the family that Holm's correction is over.
-- column holm_p: bootstrap_p after Holm's correction.
with
families as (
    select
        *,
        mask_language = language as is_targeted,
        -- Masks of one kind over the languages; zero-shot masks by the language that they were made in.
        struct_pack(
            model, dataset, split, ranking, draw, selection,
            size := case when selection = 'curve' then num_removed end,
            made_in := case when mask_language = language then null else mask_language end
        ) as family
    from pruning_tests
),
gathered as (
    select *, list(bootstrap_p) over (partition by family) as family_p from families
)
select
    model, dataset, split, language, ranking, mask_language, draw, selection, num_removed, is_targeted, num_examples, clusters,
    before, after,
    after - before as effect,
    -- Without a player removed nothing can change, in examples that were not seen either.
    case when num_removed = 0 then 0.0 else effect_low end as effect_low,
    case when num_removed = 0 then 0.0 else effect_high end as effect_high,
    bootstrap_p, mcnemar_p,
    list_count(family_p) as tests,
    holm(bootstrap_p, family_p) as holm_p
from gathered
