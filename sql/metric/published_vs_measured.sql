-- One number printed in a paper, beside the same number measured in this warehouse where there is one.
-- key: paper, table, published_model, dataset, source_language, language, metric, variant, model, setting
-- source: `published_results` joined with the metric views through `models.published_as`; names are compared without case and punctuation, and a fine-tuned model stands for the languages it was fine-tuned on (sorted, joined by `+`)
-- kept: whole
-- column paper: Short name of the paper.
-- column table: Number of the table in the paper.
-- column published_model: Model as the paper names it.
-- column dataset: Dataset as the paper names it.
-- column source_language: Language trained on or compared from.
-- column language: Language evaluated; `overall` is the mean over the table's languages.
-- column metric: Name of the metric.
-- column variant: Variant that was published: paper or published_code.
-- column value_unit: Unit of published, measured and difference: what is printed in percent is a share here, BLEU is BLEU.
-- column published: The printed number, in `value_unit`.
-- column measured: The same metric measured here, in `value_unit`; NULL where there is none. `overall` averages the table's languages that are measured, the self pair included, as the papers do.
-- column difference: measured - published; NULL for an `overall` over only some of the table's languages, since the weight of the self pair would differ.
-- column model: Key of the measured model; NULL where there is none.
-- column setting: What was measured: split, variant, and for consistency method, target policy, space, unit and normalization.
-- column languages_measured: Languages behind `measured`: 1, or for `overall` the number averaged.
-- column languages_published: Languages behind `published`: 1, or for `overall` the number in the table.
-- column note: Significance marks and the like.
with
published as (
    select
        * exclude (value, value_unit),
        if(value_unit = 'percent', value / 100, value) as published,
        if(value_unit = 'percent', 'share', value_unit) as value_unit
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
        -- The warehouse holds sacreBLEU's numbers as shares; papers print them as they are.
        case metric when 'bleu' then 'BLEU' when 'chrf' then 'chrF' else 'share' end as value_unit,
        if(metric in ('bleu', 'chrf'), 100 * value, value) as value
    from task_scores
    join known_models using (model)
    union all
    -- A checkpoint that was not fine-tuned here does not say what it was trained on: every source counts.
    select
        plain_model, model, dataset, source_language, target_language,
        if(output = 'class', 'ccta', 'ccta_' || output),
        concat_ws(' · ', split, variant, method, target_policy, space, unit, normalization),
        'share',
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
        -- Numbers of different units are not compared.
        and measured.value_unit = published.value_unit
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
    value_unit,
    published,
    measured,
    if(languages_measured = languages_published, measured - published, null) as difference,
    measured_model as model,
    setting,
    languages_measured,
    languages_published,
    note
from compared
