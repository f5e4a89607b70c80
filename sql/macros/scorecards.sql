-- The scores that a model's tasks are compared by: one per model, dataset, split and language.
create macro main_scores() as table
select
    model, dataset, split, language, task,
    arg_min(metric, preference) as metric,
    arg_min(value, preference) as value
from (
    select
        *,
        list_position(['span_f1', 'token_accuracy', 'accuracy', 'f1', 'bleu'], metric) as preference
    from task_scores
    where variant = 'strict' and isfinite(value)
)
where preference is not null
group by model, dataset, split, language, task;

-- The metrics of `language_pair_scorecard` that are correlated with each other, and the quantities that each is computed
-- from, by its definition: two that share one are not independent whatever the models do, so they are not tested.
create macro scorecard_metrics() as table
select unnest([
    {'metric': 'target_score', 'made_from': ['target_score']},
    {'metric': 'transfer_gap', 'made_from': ['source_score', 'target_score']},
    {'metric': 'ccta', 'made_from': ['ccta']},
    {'metric': 'ccta_excess', 'made_from': ['ccta', 'ccta_null']},
    {'metric': 'calign_best', 'made_from': ['calign']},
    {'metric': 'calign_last', 'made_from': ['calign']},
    {'metric': 'colap_best', 'made_from': ['colap']},
    {'metric': 'colap_last', 'made_from': ['colap']},
    {'metric': 'head_rho', 'made_from': ['head_values']},
    -- The pruned model's score less the whole one's, in the target language.
    {'metric': 'pruning_gain', 'made_from': ['pruned_score', 'target_score']},
    {'metric': 'faithfulness_difference', 'made_from': ['faithfulness']},
    {'metric': 'fertility_difference', 'made_from': ['fertility']}
], recursive := true);

-- Why a number is not there, as an entry of `missing`; NULL where it is there.
create macro missing_because(name, value, of_model, of_pair, table_name) as
    case
        when value is not null then null
        when not of_model then {'key': name, 'value': table_name || ' has no row of this model'}
        when not of_pair then {'key': name, 'value': table_name || ' has no row of these languages'}
        else {'key': name, 'value': 'not defined for these rows of ' || table_name}
    end;

-- `language_pair_scorecard` for another attribution method or variant.
create macro language_pair_scorecard_at(of_method, of_variant) as table
with
scores as materialized (
    select * from main_scores()
),
sources as (
    select distinct model, unnest(finetuned_languages) as source_language from models
    union
    select distinct model, source_language from ccta
),
task_pairs as (
    select scores.model, dataset, split, task, metric, value, language, source_language
    from scores
    join sources using (model)
    union all
    select scores.model, scores.dataset, scores.split, scores.task, scores.metric, scores.value, scores.language,
        other.language
    from scores
    join scores as other using (model, dataset, split)
    where scores.model not in (select model from sources)
),
pairs as (
    select
        pair.model, pair.dataset, pair.split, pair.task, pair.source_language, pair.language as target_language,
        pair.metric,
        home.value as source_score,
        pair.value as target_score
    from task_pairs as pair
    left join scores as home
        on home.model = pair.model and home.dataset = pair.dataset and home.split = pair.split
        and home.language = pair.source_language
    union all
    select distinct model, null, null, null, source_language, target_language, null, null::double, null::double
    from calign
    where model not in (select model from scores)
),
consistency as (
    select model, dataset, split, source_language, target_language,
        avg(score) as ccta, avg(excess_shuffled) as ccta_excess, avg(converged_share) as converged_share
    from ccta
    where ccta.method = of_method and ccta.variant = of_variant
        and normalization = 'abs'
    group by all
),
aligned_layers as (
    select model, source_language, target_language, stack, layer, avg(score) as score
    from calign
    where calign.variant = of_variant
    group by all
),
aligned as (
    select model, source_language, target_language,
        max(score) as calign_best,
        arg_max(layer, (score, -layer)) filter (score is not null) as calign_best_layer,
        arg_max(score, (stack = 'encoder', layer)) as calign_last
    from aligned_layers
    group by all
),
overlapping_layers as (
    select model, string_split(replace(scope, 'mixed:', ''), '+') as languages, stack, layer, avg(score) as score
    from colap
    where colap.variant = of_variant and unit = 'tokens'
    group by all
),
overlapping as (
    select model, s.language as source_language, t.language as target_language,
        max(score) as colap_best,
        arg_max(layer, (score, -layer)) filter (score is not null) as colap_best_layer,
        arg_max(score, (stack = 'encoder', layer)) as colap_last
    from overlapping_layers, unnest(languages) as s(language), unnest(languages) as t(language)
    where s.language <> t.language
    group by all
),
heads as (
    select model, dataset, split, source_language, target_language,
        avg(rho) as head_rho, avg(rho_corrected) as head_rho_corrected
    from head_rank_correlation
    group by all
),
pruned as (
    -- On whatever part it was evaluated: never the one that the heads were valued on.
    select model, dataset, mask_language as source_language, language as target_language, avg(effect) as pruning_gain
    from pruning_effects
    where selection = of_variant and starts_with(ranking, 'shapley.')
    group by all
),
faithful_ratios as (
    select model, dataset, split, language, avg(ratio) as ratio, avg(converged_share) as converged_share
    from faithfulness
    where faithfulness.method = of_method
        and faithfulness.variant = of_variant and mode = 'hard'
    group by all
),
faithful as (
    select model, dataset, split, s.language as source_language, t.language as target_language,
        t.ratio - s.ratio as faithfulness_difference,
        least(s.converged_share, t.converged_share) as converged_share
    from faithful_ratios as s
    join faithful_ratios as t using (model, dataset, split)
),
fertile as (
    select model, dataset, split, s.language as source_language, t.language as target_language,
        t.fertility - s.fertility as fertility_difference
    from fertility as s
    join fertility as t using (model, dataset, split)
)
select
    pairs.model, pairs.dataset, pairs.split, task, pairs.source_language, pairs.target_language,
    metric, source_score, target_score,
    source_score - target_score as transfer_gap,
    ccta, ccta_excess,
    calign_best, calign_best_layer, calign_last,
    colap_best, colap_best_layer, colap_last,
    head_rho, head_rho_corrected, pruning_gain,
    faithfulness_difference, fertility_difference,
    least(consistency.converged_share, faithful.converged_share) as converged_share,
    map_from_entries(list_filter(
        [
            missing_because('transfer_gap', source_score - target_score, target_score is not null,
                source_score is not null, 'task_scores'),
            missing_because('ccta', ccta, pairs.model in (select model from consistency),
                consistency.model is not null, 'ccta'),
            missing_because('calign', calign_best, pairs.model in (select model from aligned),
                aligned.model is not null, 'calign'),
            missing_because('colap', colap_best, pairs.model in (select model from overlapping),
                overlapping.model is not null, 'colap'),
            missing_because('head_rho', head_rho, pairs.model in (select model from heads),
                heads.model is not null, 'head_rank_correlation'),
            missing_because('pruning_gain', pruning_gain, pairs.model in (select model from pruned),
                pruned.model is not null, 'pruning_effects'),
            missing_because('faithfulness_difference', faithfulness_difference,
                pairs.model in (select model from faithful), faithful.model is not null, 'faithfulness'),
            missing_because('fertility_difference', fertility_difference, pairs.model in (select model from fertile),
                fertile.model is not null, 'fertility')
        ],
        lambda entry: entry is not null
    )) as missing
from pairs
left join consistency using (model, dataset, split, source_language, target_language)
left join aligned on aligned.model = pairs.model
    and aligned.source_language = pairs.source_language and aligned.target_language = pairs.target_language
left join overlapping on overlapping.model = pairs.model
    and overlapping.source_language = pairs.source_language and overlapping.target_language = pairs.target_language
left join heads on heads.model = pairs.model and heads.dataset = pairs.dataset and heads.split = pairs.split
    and heads.source_language = pairs.source_language and heads.target_language = pairs.target_language
left join pruned on pruned.model = pairs.model and pruned.dataset = pairs.dataset
    and pruned.source_language = pairs.source_language and pruned.target_language = pairs.target_language
left join faithful on faithful.model = pairs.model and faithful.dataset = pairs.dataset
    and faithful.split = pairs.split and faithful.source_language = pairs.source_language
    and faithful.target_language = pairs.target_language
left join fertile on fertile.model = pairs.model and fertile.dataset = pairs.dataset and fertile.split = pairs.split
    and fertile.source_language = pairs.source_language and fertile.target_language = pairs.target_language;
