-- Everything that the most and the least valuable head attend to, example by example.
-- key: model, dataset, split, language, example_id, kind
-- source: attention_maps of the heads whose mean of head_shapley over languages and samplers is largest and smallest
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column example_id: Identity of the example; equal across languages in parallel data.
-- column kind: most valuable or least valuable.
-- column layer: Attention block in the order of the forward pass.
-- column head: Head within the layer.
-- column mean_value: Its mean value, a share.
-- column tokens: The tokenizer's pieces that the model sees.
-- column is_special: Of each token: CLS, SEP and the like.
-- column weights: Shares of attention, token by token: first what the first token attends to.
with
valued as (
    select model, dataset, split, layer, head, avg(value) as mean_value
    from head_shapley
    where unit = 'head' and variant = 'strict'
    group by all
),
extremes as (
    select *, 'most valuable' as kind
    from valued
    qualify row_number() over (partition by model, dataset, split order by mean_value desc, layer, head) = 1
    union all
    select *, 'least valuable'
    from valued
    qualify row_number() over (partition by model, dataset, split order by mean_value, layer desc, head desc) = 1
)
select
    model, dataset, split, language, example_id, kind, layer, head, mean_value, tokens, is_special, weights
from attention_maps
join extremes using (model, dataset, split, layer, head)
