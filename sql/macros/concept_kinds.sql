-- What kind of concept each is, at other thresholds than the view `concept_kind_counts`; a row as in that view.
-- least_share: share of a concept's types (lexical) or gold-tagged members (part of speech, entity) that must agree;
-- alpha: chance at most of its affix; least_tagged: gold-tagged members needed to judge.
create macro concept_kinds_at(least_share := 0.8, alpha := 0.01, least_tagged := 3) as table
with
asked as (
    select unnest(['lexical', 'part_of_speech', 'named_entity', 'multilingual']) as kind
),
judged as (
    select
        model,
        clustering,
        kind,
        case kind
            -- A concept of one or two types cannot share an affix by more than chance.
            when 'lexical' then num_types >= 3
            when 'part_of_speech' then num_pos_tagged >= least_tagged
            when 'named_entity' then num_entity_tagged >= least_tagged
            else true
        end as can_tell,
        coalesce(case kind
            when 'lexical' then affix_types / num_types >= least_share and affix_p <= alpha
            when 'part_of_speech' then pos_tokens / num_pos_tagged >= least_share
            when 'named_entity' then entity <> 'O' and entity_tokens / num_entity_tagged >= least_share
            else language_tokens / num_tokens <= least_share
        end, false) as is_kind
    from concept_kinds, asked
),
counted as (
    select
        model,
        clustering,
        kind,
        count(*) as concepts,
        count_if(can_tell)::bigint as judged,
        count_if(can_tell and is_kind)::bigint as found
    from judged
    group by all
)
select
    model, corpus, scope, stack, convention, layer, clustering, seed, kind, concepts, judged, found,
    case when judged > 0 then found / judged end as share,
    wilson_low(found, judged) as share_low,
    wilson_high(found, judged) as share_high
from counted
join clusterings using (model, clustering)
where kind <> 'multilingual' or len(languages) > 1;
