-- CALIGN or COLAP of one layer, beside the same of the model that it was fine-tuned from: a point of the paper's curves.
-- key: base_model, model, metric, variant, corpus, lexicon, unit, languages, clustering
-- source: views calign and colap, joined with models; a model that is not fine-tuned here stands for itself
-- kept: whole
-- column base_model: The model that was fine-tuned, or the model itself.
-- column model: Key of the model in the study.
-- column role: base (dotted in the paper), fine-tuned (solid: all languages compared are ones it was fine-tuned on, or translates from) or zero-shot (dashed: some are not).
-- column metric: calign or colap.
-- column variant: As in the metric's view.
-- column corpus: Dataset that was clustered, or several joined by `+`.
-- column lexicon: Lexicon of calign; NULL for colap.
-- column unit: Unit of colap; NULL for calign.
-- column languages: `source-target` of calign, `language+language` of colap.
-- column stack: Which half of the model the states are from: encoder or decoder.
-- column convention: Decoders: the state that has consumed the sub-token or the one that predicts it; NULL for encoders.
-- column layer: Layer of that stack; 0 is the embeddings.
-- column seed: Seed of the clustering.
-- column clustering: Clustering; of calign the source language's.
-- column score: Share of concepts that are aligned or overlap.
-- column score_low: Lower end of the 95 % interval.
-- column score_high: Upper end of it.
-- column null: The same by chance: calign with a shuffled lexicon, colap with random labels.
-- column change: score less the base model's in the same place; NULL where the base model was not measured.
with
points as (
    select
        model, 'calign' as metric, variant, corpus, lexicon, null::varchar as unit,
        source_language || '-' || target_language as languages,
        [source_language, target_language] as compared,
        stack, convention, layer, seed, source_clustering as clustering,
        score, score_low, score_high, null_lexicon as "null"
    from calign
    union all
    select
        model, 'colap', variant, corpus, null, unit,
        split_part(scope, ':', 2),
        string_split(split_part(scope, ':', 2), '+'),
        stack, convention, layer, seed, clustering,
        score, score_low, score_high, null_labels
    from colap
),
placed as (
    select
        case when models.kind = 'finetuned' then models.source else model end as base_model,
        case
            when coalesce(models.kind, 'path') <> 'finetuned' then 'base'
            -- One that translates has learned the language it translates from too.
            when list_has_all(list_append(models.finetuned_languages, models.translated_from), compared) then 'fine-tuned'
            else 'zero-shot'
        end as role,
        points.*
    from points
    left join models using (model)
)
select
    placed.base_model,
    placed.model,
    placed.role,
    placed.metric,
    placed.variant,
    placed.corpus,
    placed.lexicon,
    placed.unit,
    placed.languages,
    placed.stack,
    placed.convention,
    placed.layer,
    placed.seed,
    placed.clustering,
    placed.score,
    placed.score_low,
    placed.score_high,
    placed."null",
    case when placed.role = 'base' then null else placed.score - base.score end as change
from placed
left join placed as base
    on base.model = placed.base_model
    and base.metric = placed.metric
    and base.variant = placed.variant
    and base.lexicon is not distinct from placed.lexicon
    and base.unit is not distinct from placed.unit
    and base.languages = placed.languages
    and base.clustering = placed.clustering
