-- The model that the fine-tuning of each model started from, through all of them where one followed another.
-- key: model
-- source: models.source, followed until a model that was not fine-tuned here
-- kept: whole
-- column model: Key of the model in the study.
-- column pretrained: Key of the model that it goes back to; itself if it was not fine-tuned here.
with recursive
lineage as (
    select model, model as ancestor from models
    union
    select lineage.model, models.source
    from lineage
    join models on models.model = lineage.ancestor
    where models.kind = 'finetuned'
)
select lineage.model, lineage.ancestor as pretrained
from lineage
join models on models.model = lineage.ancestor
where models.kind <> 'finetuned'
