-- One number printed in a paper, beside the same number measured in this warehouse where there is one.
-- key: paper, table, published_model, dataset, source_language, language, metric, variant, model, setting
-- source: `published_results` joined with the metric views through `models.published_as`; names are compared without case and punctuation, and a fine-tuned model stands for the languages it was fine-tuned on (sorted, joined by `+`). A dataset of translations is named with its source language (`iwslt-test11-fr`), since a warehouse names the language translated into; of a model that is fine-tuned, its key alone will do. A zero-shot translation is that of the model fine-tuned on the language it is zero-shot from
-- kept: whole
-- column paper: Short name of the paper.
-- column table: Number of the table in the paper.
-- column table_row: Row of that table, as this project lays it out: the model, or what tells the table's rows apart.
-- column table_column: Column of that table: the language, test set or metric.
-- column published_model: Model as the paper names it.
-- column dataset: Dataset as the paper names it.
-- column source_language: Language trained on or compared from.
-- column language: Language evaluated; `overall` is the mean over the table's languages.
-- column metric: Name of the metric.
-- column variant: Variant that was published: paper or published_code.
-- column value_unit: Unit of published, measured, low, high and difference: what is printed in percent is a share here, BLEU is BLEU.
-- column published: The printed number, in `value_unit`.
-- column measured: The same metric measured here, in `value_unit`; NULL where there is none. `overall` averages the table's languages that are measured, the self pair included, as the papers do.
-- column low: Lower end of the 95 % interval of `measured`; NULL where there is none, as of fertility and `overall`. Of pruned models it is Wilson's at the effective number of examples, each averaged over the draws of random masks.
-- column high: Upper end of it.
-- column difference: measured - published; NULL for an `overall` over only some of the table's languages, since the weight of the self pair would differ.
-- column beyond_interval: Whether the published number lies outside of the interval, whatever was rounded off in print: by more than half a unit of its last decimal, of which there are as many as the longest number of its table and metric has; NULL where there is none.
-- column model: Key of the measured model; NULL where there is none.
-- column setting: What was measured: split, variant, and for consistency method, target policy, space, unit and normalization; for faithfulness importance, masking and whether the attributions are those of the released code; for pruned models selection and sampler.
-- column choice: 1 for the measurement that comes closest to how the paper measured, then the others; NULL where there is none.
-- column languages_measured: Languages behind `measured`: 1, or for `overall` the number averaged.
-- column languages_published: Languages behind `published`: 1, or for `overall` the number in the table.
-- column note: Significance marks and the like.
with
-- Numbers are stored without the zeros that they end with: a column of a table has as many decimals as the longest of it.
printed as (
    select
        *,
        max(length(regexp_extract(value::varchar, '\.(\d*?)0*$', 1))) over (
            -- A BLEU below 1 is printed with one more.
            partition by paper, "table", metric, value_unit = 'BLEU' and value < 1
        ) as decimals
    from published_results
),
published as (
    select
        * exclude (value, value_unit, decimals),
        case when value_unit = 'percent' then value / 100 else value end as published,
        0.5 * 10.0 ** -decimals / case when value_unit = 'percent' then 100 else 1 end as rounding,
        case when value_unit = 'percent' then 'share' else value_unit end as value_unit,
        plain_name(dataset) as plain_dataset,
        -- What was measured of whom: zero-shot translations are those of a model that has a row of its own.
        plain_name(regexp_replace(model, ' \S+ zero-shot from (\S+)$', ' \1 fine-tuned')) as plain_model,
        contains(model, ' zero-shot ') as is_zero_shot,
        ends_with(model, ' base') as is_base,
        case
            when paper = 'ccta' and "table" in ('4', '5') then source_language
            when starts_with(metric, 'ccta_') then concat_ws(' · ', model, substr(metric, 6))
            when paper = 'faithfulness' then concat_ws(' · ', dataset, language, model)
            when paper = 'shapley-heads' then concat_ws(' · ', dataset, case split_part(metric, '.', 1)
                when 'accuracy' then 'all heads'
                when 'pruned_heads_targeted' then 'heads pruned'
                else split_part(metric, '.', 2)
            end)
            else model
        end as table_row,
        case
            when paper = 'faithfulness' then metric
            when metric = 'bleu' then dataset
            else language
        end as table_column
    from printed
),
known_models as (
    select
        model,
        plain_name(published_as) as plain_model,
        array_to_string(list_sort(finetuned_languages), '+') as trained_on
    from models
    where published_as is not null
),
scores as (
    select
        plain_model, model, dataset, trained_on, language, metric, split, variant,
        concat_ws(' · ', split, variant) as setting, value, ci_low as low, ci_high as high
    from task_scores
    join known_models using (model)
),
-- Scores of classes, tags and answers, under the papers' names.
tasks as (
    select
        published.*, scores.model as measured_model, setting, value as measured, low, high, split,
        case when scores.variant = 'strict' then 0 else 1 end as distance
    from published
    join scores
        on scores.plain_model = published.plain_model
        and plain_name(scores.dataset) = plain_dataset
        and scores.language = published.language
        and published.metric = case scores.metric
            when 'token_accuracy' then 'accuracy'
            when 'span_f1' then 'f1'
            when 'macro_f1' then case when paper = 'faithfulness' then 'f1' else 'macro_f1' end
            else scores.metric
        end
        and published.value_unit = 'share'
        -- A model as it was pretrained was trained on no language.
        and (scores.trained_on = published.source_language or (is_base and scores.trained_on is null))
    where scores.metric not in ('bleu', 'chrf')
),
-- What a dataset of translations is called beyond the paper's name for it: the language that is translated from.
translated as (
    select
        published.*, scores.model as measured_model, scores.setting, scores.value, low as low_share, high as high_share,
        scores.split, scores.dataset as measured_dataset,
        substr(plain_name(scores.dataset), length(plain_dataset) + 1) as more
    from published
    join scores
        on scores.plain_model = published.plain_model
        and scores.language = published.language
        and scores.metric = published.metric
        and published.value_unit = case when scores.metric = 'bleu' then 'BLEU' else 'chrF' end
        and starts_with(plain_name(scores.dataset), plain_dataset)
    where scores.metric in ('bleu', 'chrf')
),
-- The warehouse holds sacreBLEU's numbers as shares; papers print them as they are.
translations as (
    select
        * exclude (value, low_share, high_share, measured_dataset, more) replace (
            concat_ws(' · ', measured_dataset, setting) as setting
        ),
        100 * value as measured, 100 * low_share as low, 100 * high_share as high, 0 as distance
    from translated
    where source_language <> '*'
        and (more in (source_language, source_language || language) or (more = '' and not is_zero_shot))
    union all by name
    select
        * exclude (value, low_share, high_share, measured_dataset, more) replace (
            concat_ws(' · ', 'mean over source languages', setting) as setting
        ),
        100 * avg(value) as measured, null::double as low, null::double as high, 0 as distance
    from translated
    where source_language = '*' and regexp_full_match(more, '([a-z]{2,3})?(' || language || ')?')
    group by all
),
-- A checkpoint that was not fine-tuned here does not say what it was trained on: every source counts.
consistency as (
    select
        published.*, ccta.model as measured_model,
        concat_ws(' · ', split, ccta.variant, method, target_policy, space, unit, normalization) as setting,
        score as measured, score_low as low, score_high as high, split,
        case when method = 'lig_fixed' and ccta.variant = 'paper' then 0 when method = 'lig' then 1 else 2 end
            + case when target_policy = 'source_prediction' then 0 else 4 end
            + case when normalization = 'abs' then 0 else 3 end as distance
    from published
    join known_models using (plain_model)
    join (
        from ccta
        union all
        -- The paper's own way: a fixed number of steps, and every pair counts.
        from ccta_at(keep_unconverged := true) where method = 'lig_fixed'
    ) as ccta
        on ccta.model = known_models.model
        and plain_name(ccta.dataset) = plain_dataset
        and ccta.source_language = published.source_language
        and ccta.target_language = published.language
        and published.metric = case when output = 'class' then 'ccta' else 'ccta_' || output end
        and published.value_unit = 'share'
    where method <> 'random' and published.source_language = coalesce(trained_on, published.source_language)
),
-- Models of this paper are trained and evaluated in one language. Some methods are those of the released code.
faithful as (
    select
        published.*, faithfulness.model as measured_model,
        concat_ws(' · ', split, faithfulness.variant, importance, masking, case when is_released then 'released' end) as setting,
        ratio as measured, ratio_low as low, ratio_high as high, split,
        case when faithfulness.variant = published.variant then 0 else 4 end
            + case when faithfulness.variant = 'strict' then 0 else 2 end
            + case when importance = 'signed' then 0 else 1 end + case when is_released then 0 else 0.5 end as distance
    from published
    join known_models using (plain_model)
    join (select *, starts_with(method, 'released_') as is_released from faithfulness) as faithfulness
        on faithfulness.model = known_models.model
        and plain_name(faithfulness.dataset) = plain_dataset
        and faithfulness.language = published.language
        and published.metric
            = concat(case when mode = 'soft' then 'soft_' end, side, '_ratio.', regexp_replace(method, '^released_', ''))
        and published.value_unit = 'ratio'
    where published.source_language = coalesce(trained_on, published.source_language)
),
-- Whatever a tokenizer's model was trained on, it cuts a text alike.
cut as (
    select
        published.*, fertility.model as measured_model, split as setting,
        case metric
            when 'fertility' then fertility
            when 'unknown_ratio' then unknown_ratio
            else round(unknown_ratio * tokens)
        end as measured,
        null::double as low, null::double as high, split, 0 as distance
    from published
    join known_models using (plain_model)
    join fertility
        on fertility.model = known_models.model
        and plain_name(fertility.dataset) = plain_dataset
        and fertility.language = published.language
    where (metric, value_unit) in (
        ('fertility', 'sub-tokens per word'), ('unknown_ratio', 'share'), ('unknown_tokens', 'count')
    )
),
-- What the decisions of each language remove, which is as many as its other rankings remove.
decided as (
    select distinct
        plain_model, trained_on, tests.model, tests.dataset, tests.split, mask_language, ranking, selection, num_removed,
        concat_ws(' · ', tests.split, selection, split_part(ranking, '.', 2)) as setting
    from pruning_tests as tests
    join known_models using (model)
    where selection in ('strict', 'asymptotic', 'paper') and starts_with(ranking, 'shapley.')
),
masks as (
    select *, 'shapley' as published_ranking from decided
    union all by name
    select distinct
        decided.* replace (tests.ranking as ranking, tests.selection as selection),
        case when tests.ranking = 'gradient' then 'michel' else tests.ranking end as published_ranking
    from decided
    join pruning_tests as tests using (model, dataset, split, mask_language, num_removed)
    where tests.selection = 'same_size' and tests.ranking in ('gradient', 'random')
),
pruned_examples as (
    select
        plain_model, trained_on, masks.model, masks.dataset, split, mask_language, published_ranking, setting,
        evaluations.language, example_id, avg(score) as score, any_value(weight) as weight
    from masks
    join pruning_evaluations as evaluations
        using (model, dataset, split, mask_language, ranking, selection, num_removed)
    group by all
    union all
    -- As many heads as none are removed by any ranking alike: the whole model.
    select
        plain_model, trained_on, decided.model, decided.dataset, split, decided.mask_language, other, setting,
        evaluations.language, example_id, score, weight
    from decided
    cross join (values ('michel'), ('random')) as others(other)
    join pruning_evaluations as evaluations using (model, dataset, split)
    where decided.num_removed = 0 and evaluations.ranking = 'none'
    union all
    select
        plain_model, trained_on, model, dataset, split, language, 'none', concat_ws(' · ', split, 'heads'), language,
        example_id, score, weight
    from pruning_evaluations
    join known_models using (model)
    where ranking = 'none'
),
pruned_accuracy as (
    select
        * exclude (example_id, score, weight),
        sum(score * weight) / sum(weight) as value,
        count(*) as examples,
        sum(weight) as weights,
        sum((score * weight) ** 2) as score_squares,
        sum(score * weight ** 2) as products,
        sum(weight ** 2) as weight_squares
    from pruned_examples
    group by all
),
-- Examples of which as many come to the same standard error: that of a ratio of sums, linearised.
effective as (
    select
        *,
        (score_squares - 2 * value * products + value ** 2 * weight_squares) / weights ** 2
            * examples / nullif(examples - 1, 0) as variance,
        case when variance > 1e-12 then value * (1 - value) / variance else examples end as n
    from pruned_accuracy
),
pruned as (
    select
        published.*, effective.model as measured_model, setting, value as measured,
        wilson_low(value * n, n) as low, wilson_high(value * n, n) as high, split,
        case when contains(setting, 'paper') or published_ranking = 'none' then 0 else 1 end as distance
    from published
    join effective
        on effective.plain_model = published.plain_model
        and plain_name(effective.dataset) = plain_dataset
        and effective.language = published.language
        and case split_part(published.metric, '.', 1)
            when 'accuracy' then published_ranking = 'none'
            when 'accuracy_targeted' then mask_language = published.language
            when 'accuracy_zero_shot' then mask_language = published.source_language
        end
        and (published.metric = 'accuracy' or published_ranking = split_part(published.metric, '.', 2))
        and published.value_unit = 'share'
    where paper = 'shapley-heads' and published.source_language = coalesce(trained_on, published.source_language)
    union all by name
    select
        published.*, decided.model as measured_model, setting, num_removed::double as measured,
        null::double as low, null::double as high, split, case when contains(setting, 'paper') then 0 else 1 end as distance
    from published
    join decided using (plain_model)
    where metric = 'pruned_heads_targeted.shapley' and value_unit = 'count'
        and plain_name(decided.dataset) = plain_dataset
        and mask_language = published.language
        and published.source_language = coalesce(trained_on, published.source_language)
),
measured as (
    select * from (
        from tasks union all by name from translations union all by name from consistency
        union all by name from faithful union all by name from cut union all by name from pruned
    )
    where measured is not null
),
cells as (
    select
        published.*, measured_model, setting, measured, low, high, split,
        distance + case when setting like '%heads' or split = 'test' then 0 else 8 end as distance
    from published
    left join measured using (paper, "table", model, dataset, source_language, language, metric, variant)
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
        count(*) as languages_measured,
        max(distance) as distance
    from cells
    where measured is not null
    group by all
),
compared as (
    select *, case when measured is null then 0 else 1 end as languages_measured, 1 as languages_published
    from cells
    union all by name
    select published.*, measured_model, setting, measured, distance,
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
    table_row,
    table_column,
    model as published_model,
    dataset,
    source_language,
    language,
    metric,
    variant,
    value_unit,
    published,
    measured,
    low,
    high,
    case when languages_measured = languages_published then measured - published end as difference,
    published + rounding < low or published - rounding > high as beyond_interval,
    measured_model as model,
    setting,
    case when measured is null then null else row_number() over (
        partition by paper, "table", model, dataset, source_language, language, metric, variant
        order by languages_measured desc, distance, measured_model, setting
    ) end as choice,
    languages_measured,
    languages_published,
    note
from compared
