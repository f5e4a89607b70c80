-- One number printed in a paper, beside the same number measured in this warehouse where there is one.
-- key: paper, table, published_model, dataset, source_language, language, metric, variant, model, setting
-- source: `published_results` joined with the metric views through `models.published_as`; names are compared without case and punctuation, and a fine-tuned model stands for the languages it was fine-tuned on (sorted, joined by `+`)
-- column paper: Short name of the paper.
-- column table: Number of the table in the paper.
-- column published_model: Model as the paper names it.
-- column dataset: Dataset as the paper names it.
-- column source_language: Language trained on or compared from.
-- column language: Language evaluated; `overall` is the mean over the table's languages.
-- column metric: Name of the metric.
-- column variant: Variant that was published: paper or published_code.
-- column published: The printed number; percentages as shares.
-- column measured: The same metric measured here; NULL where there is none. `overall` averages the table's languages that are measured, the self pair included, as the papers do.
-- column difference: measured - published; NULL for an `overall` over only some of the table's languages, since the weight of the self pair would differ.
-- column model: Key of the measured model; NULL where there is none.
-- column setting: What was measured: split, variant, and for consistency method, target policy, space, unit and normalization.
-- column languages_measured: Languages behind `measured`: 1, or for `overall` the number averaged.
-- column languages_published: Languages behind `published`: 1, or for `overall` the number in the table.
-- column note: Significance marks and the like.
with
published as (
    select
        * exclude (value),
        -- These tables print percent, the warehouse holds shares; BLEU stays on its scale of 100.
        if(
            paper in ('shapley-heads', 'concept-alignment') and (metric like 'accuracy%' or metric = 'f1'),
            value / 100, value
        ) as published
    from published_results
),
known_models as (
    select
        model,
        plain_name(published_as) as plain_model,
        array_to_string(list_sort(finetuned_languages), '+') as trained_on
    from models
    where published_as is not null
),
measured as (
    select
        plain_model, model, dataset, trained_on as source_language, language,
        -- The papers' names: accuracy of tags, F1 of entities.
        case metric when 'token_accuracy' then 'accuracy' when 'span_f1' then 'f1' else metric end as metric,
        concat_ws(' · ', split, variant) as setting,
        value
    from task_scores
    join known_models using (model)
    union all
    -- A checkpoint that was not fine-tuned here does not say what it was trained on: every source counts.
    select
        plain_model, model, dataset, source_language, target_language,
        if(output = 'class', 'ccta', 'ccta_' || output),
        concat_ws(' · ', split, variant, method, target_policy, space, unit, normalization),
        score
    from ccta
    join known_models using (model)
    where method <> 'random' and source_language = coalesce(trained_on, source_language)
),
cells as (
    select
        published.*,
        measured.model as measured_model,
        measured.setting,
        measured.value as measured
    from published
    left join measured
        on measured.plain_model = plain_name(published.model)
        and plain_name(measured.dataset) = plain_name(published.dataset)
        and measured.source_language = published.source_language
        and measured.language = published.language
        and measured.metric = published.metric
    where published.language <> 'overall'
),
table_rows as (
    select
        paper, "table", model, dataset, source_language, metric, variant,
        count(distinct language) as languages_published
    from cells
    group by all
),
measured_rows as (
    select
        paper, "table", model, dataset, source_language, metric, variant, measured_model, setting,
        avg(measured) as measured,
        count(*) as languages_measured
    from cells
    where measured is not null
    group by all
),
compared as (
    select *, if(measured is null, 0, 1) as languages_measured, 1 as languages_published
    from cells
    union all by name
    select published.*, measured_model, setting, measured,
        coalesce(languages_measured, 0) as languages_measured,
        languages_published
    from published
    left join table_rows using (paper, "table", model, dataset, source_language, metric, variant)
    left join measured_rows using (paper, "table", model, dataset, source_language, metric, variant)
    where language = 'overall'
)
select
    paper,
    "table",
    model as published_model,
    dataset,
    source_language,
    language,
    metric,
    variant,
    published,
    measured,
    if(languages_measured = languages_published, measured - published, null) as difference,
    measured_model as model,
    setting,
    languages_measured,
    languages_published,
    note
from compared
