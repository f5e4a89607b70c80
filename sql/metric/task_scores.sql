-- One score of one model on one dataset, split and language, of whatever task.
-- key: model, dataset, split, language, metric, variant
-- source: classification_scores for classes, ratio_scores for tags and answers, translation_scores for translations
-- kept: by model
-- column model: Key of the model in the study.
-- column dataset: Key of the dataset in the study.
-- column split: Part of the dataset: train, dev, test.
-- column language: Language code, as the dataset writes it.
-- column task: Task of the dataset.
-- column metric: accuracy and macro_f1 of classes; token_accuracy of tags, span_f1 of IOB tags; exact_match and f1 of answers; bleu and chrf of translations.
-- column variant: strict: examples without gold are left out, truncated ones are scored and counted, a word without a prediction counts as wrong, answers are normalised as in MLQA; paper: answers normalised as in SQuAD v1.1.
-- column value: The score, a share.
-- column ci_low: Lower end of the 95 % interval; NULL below ten clusters.
-- column ci_high: Upper end of the same interval.
-- column standard_error: Standard error of the score by clusters; NULL where all agree.
-- column n: Examples scored: texts, sentences or questions.
-- column clusters: Clusters of examples that share a text (examples.cluster): what intervals take as independent.
-- column num_units: What the score is out of: examples, words, or gold and predicted entities; for bleu tokens, for chrf characters of the references.
-- column num_classes: Classes or tags that the model chooses among; NULL for answers and translations.
-- column chance: Expected score of guessing uniformly among these classes; NULL where guessing is not defined.
-- column num_truncated: Scored examples whose input was cut because it was too long.
-- column num_cut_outputs: Translations that were stopped at the most sub-tokens the model may write; NULL for other tasks.
-- column interval: How the interval is made, by clusters: wilson at the effective sample size, jackknife, or bootstrap (translations).
select
    model, dataset, split, language, task, metric, variant, value, ci_low, ci_high, standard_error, n,
    clusters, n as num_units, num_classes, chance, num_truncated, null::bigint as num_cut_outputs, 'wilson' as interval
from classification_scores
union all by name
from ratio_scores
union all by name
select * exclude (signature)
from translation_scores
