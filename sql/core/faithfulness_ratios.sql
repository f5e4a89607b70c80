-- Faithfulness relative to random attributions of a model that is compared with its counterpart, measured or published.
-- key: origin, pair, kind, model, dataset, split, language, method, importance, masking, side, variant
-- source: measured: view faithfulness, pairs by `models.counterpart_of`; published: `published_results` of the paper (arXiv 2403.12809), pairs by family of the model
-- kept: whole
-- column origin: measured: in this warehouse; published: by the paper.
-- column pair: The multilingual model of the comparison.
-- column kind: multilingual or monolingual.
-- column model: Key of the model in the study, or its name in the paper.
-- column dataset: Key of the dataset in the study, or its name in the paper.
-- column split: Part of the dataset; NULL for published.
-- column language: Language code.
-- column method: Attribution method.
-- column importance: What tokens are ranked by; signed for published.
-- column mode: hard or soft.
-- column masking: What became of tokens not kept.
-- column side: sufficiency or comprehensiveness.
-- column variant: As in faithfulness; published_code for published.
-- column ratio: Mean score over that of random attributions.
-- column converged_share: Share of the attributions that converged, whether they count or not; NULL for methods without completeness and for published.
-- column num_unconverged: Those that did not: left out of strict, kept in the other variants; NULL for published.
with
measured_pairs as (
    select counterpart_of as pair, 'monolingual' as kind, model from models where counterpart_of is not null
    union
    select counterpart_of, 'multilingual', counterpart_of from models where counterpart_of is not null
),
published as (
    select
        *,
        split_part(note, ', ', 1) as kind,
        split_part(note, ', ', 2) as family,
        regexp_extract(metric, '^(soft_)?(sufficiency|comprehensiveness)_ratio\.(.+)$', ['soft', 'side', 'method']) as parts
    from published_results
    where paper = 'faithfulness' and metric like '%\_ratio.%' escape '\'
),
families as (
    select family, any_value(model) as pair from published where kind = 'multilingual' group by family
)
select
    'measured' as origin, pair, kind, model, dataset, split, language, method, importance, mode, masking, side, variant,
    ratio, converged_share, num_unconverged
from faithfulness
join measured_pairs using (model)
where ratio is not null and method <> 'random'
union all
select
    'published', pair, kind, model, dataset, null, language, parts.method, 'signed',
    case when parts.soft = '' then 'hard' else 'soft' end,
    case when parts.soft = '' then 'zero_id' else 'bernoulli_reversed' end,
    parts.side, variant,
    value, null, null
from published
join families using (family)
