-- How much one token of an example attends to another, by one head.
-- key: model, dataset, split, language, example_id, layer, head, position, attended_position
-- source: attention_maps, pair by pair; Shapley head pruning, figures 4 and 5
-- kept: no
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the example; equal across languages in parallel data.
-- column layer: Attention block in the order of the forward pass.
-- column head: Head within the layer.
-- column position: Place of the token that attends, from 0.
-- column token: That token.
-- column attended_position: Place of the token that is attended to, from 0.
-- column attended_token: That token.
-- column attended_is_special: It is CLS, SEP or the like.
-- column weight: Share of the attention; sums to 1 over the attended tokens, up to half precision.
with
pairs as (
    select
        * exclude (weights),
        unnest(weights)::float as weight,
        generate_subscripts(weights, 1) - 1 as place
    from attention_maps
    -- Whole-number division by 0 is an error, and ends the view for all models.
    where len(tokens) > 0
)
select
    model, dataset, split, language, example_id, layer, head,
    (place // len(tokens))::int as position,
    tokens[place // len(tokens) + 1] as token,
    (place % len(tokens))::int as attended_position,
    tokens[place % len(tokens) + 1] as attended_token,
    is_special[place % len(tokens) + 1] as attended_is_special,
    weight
from pairs
