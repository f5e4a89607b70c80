-- The bets of strict evidence, numbered 1 to 20: from .71 down by factors of sqrt(2). As in xlwh/heads/sequences.py.
create macro head_bet(i) as finite(pow(2.0, -i / 2.0));

-- ln of the mean of exp over a list of logarithms; NULL where one is missing.
create macro log_mean_exp(logs) as
    case when len(logs) > 0 and is_complete(logs)
        then list_max(logs) + ln(list_avg(list_transform(logs, lambda x: exp(x - list_max(logs)))))
    end;

-- What one bet adds to the radius of the anytime-valid interval, times n: (V (-ln(1 - b) - b) + ln(2 bets / delta)) / b.
create macro head_bet_slack(square, delta, b) as
    case when b > 0 and b < 1 and delta > 0 then finite((square * (-ln(1 - b) - b) + ln(40 / delta)) / b) end;

-- Anytime-valid interval of the mean of n values in [-1, 1] from their sum of squares, at error delta, for one player.
-- Source: Howard et al. (2021), Waudby-Smith and Ramdas (2024), Theorem 2 with the constant prediction 0.
create macro strict_radius(n, square, delta) as
    case when n > 0 then
        finite(list_min(list_transform(range(1, 21), lambda i: head_bet_slack(square, delta, head_bet(i)))) / n)
    end;

-- Skewness of values from their spread and the mean of their third powers about the mean; 0 where all are equal.
create macro skewness_of(sd, third) as case when sd > 0 then finite(third / sd ^ 3) when sd = 0 and isfinite(third) then 0.0 end;

-- Observations below which a normal limit says nothing: the rarer the large values, the more.
create macro asymptotic_least(skewness) as case when isfinite(skewness) then greatest(1024, 100 * skewness ^ 2) end;

-- Half the width of an interval that holds at all times together in the limit of many values, with rho^2 = `scale`.
-- Source: Waudby-Smith et al. (2024), "Time-uniform central limit theory and asymptotic confidence sequences", Theorem 2.2.
-- As in xlwh/heads/sequences.py.
create macro scaled_asymptotic_radius(n, sd, delta, scale) as
    case when n > 0 and sd >= 0 and delta > 0 and scale > 0 then
        finite(sd * sqrt(2 * (n * scale + 1) / scale * ln(sqrt(n * scale + 1) / delta)) / n)
    end;

-- The same with the scale that makes it tightest at 2048 values, and beside it what a value of -1 or 1 could change that
-- has not been seen yet: with probability 1 - delta it is rarer than ln(1 / delta) / n. So values that are all equal
-- have an interval too. NULL, nothing is known, below asymptotic_least.
create macro asymptotic_radius(n, value, sd, skewness, delta) as
    case when n >= asymptotic_least(skewness) and isfinite(n) and delta > 0 and delta <= 1 then
        scaled_asymptotic_radius(n, sd, delta, (-2 * ln(delta) + ln(1 - 2 * ln(delta))) / 2048)
        + finite((1 + abs(value)) * ln(1 / delta) / n)
    end;

-- The least number of observations at which that radius is at most |value|, to a tenth; NULL where none below 10^9 is.
create macro asymptotic_effort(value, sd, skewness, delta) as
    list_min(
        list_filter(
            list_transform(range(146), lambda i: ceil(asymptotic_least(skewness) * 1.1 ^ i)),
            lambda needed: asymptotic_radius(needed, value, sd, skewness, delta) <= abs(value)
        )
    );

-- Empirical Bernstein radius of Eq. 4, sd sqrt(2 ln(3/delta) / n) + 3 R ln(3/delta) / n with R = 1: one look, one head.
create macro paper_radius(n, sd, delta) as
    case when n > 0 and delta > 0 and delta <= 3 then
        finite(sd * sqrt(2 * ln(3 / delta) / n) + 3 * ln(3 / delta) / n)
    end;

-- What the released code computes, sd sqrt(2 ln(3/delta)) / n + 3 R ln(3/delta) / n with R = 1: the first term shrinks
-- with n where it should with sqrt(n), the second is Eq. 4's. Source: Helw150/ShapleyHeadPruning, shap_xnli.py.
create macro published_radius(n, sd, delta) as
    case when n > 0 and delta > 0 and delta <= 3 then
        finite(sd * sqrt(2 * ln(3 / delta)) / n + 3 * ln(3 / delta) / n)
    end;

-- Observations until strict evidence reaches log_error, if they stay as they are: it grows by b |value| - b^2 square / 2
-- with each, at the best bet b there is. In the middle of the bets their neighbours help, and averaging costs less.
create macro head_effort(value, square, log_error) as
    case when value <> 0 and square > 0 then finite(
        (log_error + case when abs(value) / square < head_bet(1) then 1.5 else ln(20) end)
        / (
            least(abs(value) / square, head_bet(1)) * abs(value)
            - least(abs(value) / square, head_bet(1)) ^ 2 * square / 2
        )
    ) end;

-- Values of players with intervals of every variant, all errors being `delta`; `head_shapley` is this at 0.1.
create macro head_values(delta := 0.1) as table
    with
    counted as materialized (
        select
            struct_pack(model, dataset, split, language, sampler) as game,
            struct_pack(unit, layer, head) as player,
            estimator, half, marginal, observations
        from head_observations
        where isfinite(marginal)
    ),
    sums as (
        select
            game,
            player,
            any_value(estimator) as estimator,
            sum(observations)::bigint as n,
            sum(observations * marginal) / sum(observations) as value,
            sum(observations * marginal ^ 2) as square,
            sum(observations * marginal) filter (half = 0) / sum(observations) filter (half = 0) as value_even,
            sum(observations * marginal) filter (half = 1) / sum(observations) filter (half = 1) as value_odd
        from counted
        group by game, player
    ),
    -- About the mean, since the difference of two large sums is noise where values are nearly all alike.
    moments as (
        select
            game,
            player,
            sqrt(sum(observations * (marginal - value) ^ 2) / any_value(n)) as sd,
            sum(observations * (marginal - value) ^ 3) / any_value(n) as third
        from counted
        join sums using (game, player)
        group by game, player
    ),
    wealth as (
        select
            game,
            player,
            i,
            sum(observations * ln(1 - head_bet(i) * marginal)) as negative,
            sum(observations * ln(1 + head_bet(i) * marginal)) as positive
        from counted
        cross join range(1, 21) as bets(i)
        group by game, player, i
    ),
    evidence as (
        select game, player, log_mean_exp(list(negative)) as log_e_negative, log_mean_exp(list(positive)) as log_e_positive
        from wealth
        group by game, player
    ),
    known as (
        select
            *,
            skewness_of(sd, third) as skewness,
            count(*) over (partition by game) as players,
            row_number() over (partition by game order by value desc, player) as value_rank
        from sums
        join moments using (game, player)
        join evidence using (game, player)
    ),
    bounded as (
        select *, 'strict' as variant, strict_radius(n, square, delta / players) as radius from known
        union all
        select *, 'asymptotic', asymptotic_radius(n, value, sd, skewness, delta / players) from known
        union all
        select *, 'paper', paper_radius(n, sd, delta) from known
        union all
        -- Offered on whole-set marginals only: on single rows it calls almost every null decided.
        select *, 'published_code', published_radius(n, sd, delta) from known where estimator = 'whole_set'
    )
    select
        game.model as model, game.dataset as dataset, game.split as split, game.language as language,
        game.sampler as sampler, player.unit as unit, player.layer as layer, player.head as head,
        variant, estimator, players, n, value, sd, skewness,
        -- Where there is no radius nothing is known, but that values are in [-1, 1].
        -- A mean of marginals is in [-1, 1]; the released code uses that of a single one only.
        case when variant = 'published_code' and n > 1 then value - radius else greatest(-1.0, value - radius) end as value_low,
        case when variant = 'published_code' and n > 1 then value + radius else least(1.0, value + radius) end as value_high,
        value_rank, value_even, value_odd,
        case when variant = 'strict' then log_e_negative end as log_e_negative,
        case when variant = 'strict' then log_e_positive end as log_e_positive,
        square / n as mean_square
    from bounded;

-- Decisions on players at error `delta`; `pruning_decisions` is this at 0.1.
create macro pruning_decisions_at(delta) as table
    with
    ranked as (
        select
            *,
            row_number() over (
                partition by model, dataset, split, language, sampler, variant order by log_e_negative desc
            ) as k
        from head_values(delta := delta)
    ),
    discovered as (
        -- e-BH: the largest k whose k-th largest evidence is at least players / (k delta).
        select *, max(case when log_e_negative >= ln(players / (k * delta)) then k else 0 end) over (
            partition by model, dataset, split, language, sampler, variant
        ) as discoveries
        from ranked
    ),
    judged as (
        select
            *,
            case variant
                when 'strict' then log_e_negative >= ln(players / delta)
                else value_high < 0
            end as harmful,
            case variant
                when 'strict' then log_e_positive >= ln(players / delta)
                when 'published_code' then value_low > -0.01
                else value_low > 0
            end as useful,
            ln(case when variant = 'strict' then players else 3 end / delta) as log_error
        from discovered
    )
    select
        model, dataset, split, language, sampler, unit, layer, head, variant,
        n, value, value_low, value_high,
        case when harmful then 'prune' when useful then 'keep' else 'undecided' end as decision,
        case when variant = 'strict' then k <= discoveries end as prune_fdr,
        case
            when harmful or useful then 0
            when value <> 0 and variant = 'strict'
                then greatest(1, ceil(head_effort(value, mean_square, log_error)) - n)
            when value <> 0 and variant = 'asymptotic'
                then greatest(1, asymptotic_effort(value, sd, skewness, delta / players) - n)
            -- A head is decided when the radius, which shrinks with n, is below its distance from -0.01 or from 0.
            when variant = 'published_code'
                then greatest(1, ceil(n * published_radius(n, sd, delta) / greatest(value + 0.01, -value)) - n)
            when value <> 0 then greatest(1, ceil(2 * sd ^ 2 * log_error / value ^ 2 + 3 * log_error / abs(value)) - n)
        end::double as more_observations
    from judged;

-- Players by how alike they are over languages; `top` is how many lead a language. `head_affinity` is this at 20.
create macro head_affinity_at(top) as table
    with
    valued as (
        select *, struct_pack(model, dataset, split, sampler) as game, struct_pack(unit, layer, head) as player
        from head_shapley
        where variant in ('strict', 'asymptotic')
    ),
    alike as (
        select
            game,
            player,
            variant,
            count(*) as languages,
            avg(value) as mean_value,
            avg(value_rank) as mean_rank,
            max(value_rank) as worst_rank,
            count_if(value_rank <= top)::bigint as languages_in_top,
            any_value(players) as players,
            count_if(value > 0) as positive,
            count_if(value < 0) as negative,
            count_if(value_low > 0) as surely_positive,
            count_if(value_high < 0) as surely_negative,
            arg_max(language, value) as highest,
            arg_min(language, value) as lowest
        from valued
        group by game, player, variant
    )
    select
        game.model as model, game.dataset as dataset, game.split as split, game.sampler as sampler,
        player.unit as unit, player.layer as layer, player.head as head,
        variant,
        languages, mean_value, mean_rank, worst_rank, languages_in_top,
        languages > 1 and players > top and languages_in_top = languages as agnostic,
        case
            when languages > 2 and negative = 1 and surely_positive = languages - 1 then lowest
            when languages > 2 and positive = 1 and surely_negative = languages - 1 then highest
        end as specific_language
    from alike;
