"""ferret's comprehensiveness and sufficiency of given scores: the tokens with the k highest scores are deleted or kept.

`python ferret_faithfulness.py INPUTS faithfulness RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

import json
from typing import Any

from measure import Run

run = Run()
with run.stage("import"):
    import numpy as np
    from ferret import AOPC_Comprehensiveness_Evaluation, AOPC_Sufficiency_Evaluation
    from ferret.explainers.explanation import Explanation
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

with run.stage("load"):
    settings = json.loads((run.inputs / "settings.json").read_text())
    texts = json.loads((run.inputs / "premises.json").read_text())
    model = AutoModelForSequenceClassification.from_pretrained(settings["model"]).eval()
    # Checkpoints of transformers 5 name a class that 4 does not have; the tokenizer itself is the same.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(settings["model"])
    evaluations = [
        kind(model, tokenizer) for kind in (AOPC_Comprehensiveness_Evaluation, AOPC_Sufficiency_Evaluation)
    ]

found = []
with run.stage("work"):
    for text in texts:
        for scores in text["rankings"]:
            explanation = Explanation(text["text"], text["tokens"], np.array(scores), "given", text["target"])
            found += [
                evaluation.compute_evaluation(
                    explanation,
                    text["target"],
                    removal_args={"remove_tokens": True, "based_on": "k", "thresholds": text["sizes"]},
                ).score
                for evaluation in evaluations
            ]

np.save(run.result.with_suffix(".npy"), np.array(found))


def reads_back(text: dict[str, Any], scores: list[float], keeps: bool) -> bool:
    """Whether all of a score's perturbed inputs, written out as ferret does, are read as the same sub-tokens."""
    ids = np.array(tokenizer(text["text"], truncation=True)["input_ids"][1:-1])
    ranked = np.array(scores)[1:-1].argsort()
    for size in text["sizes"]:
        top = np.sort(ranked[-size:])
        left = ids[top] if keeps else np.delete(ids, top)
        if tokenizer(tokenizer.decode(left))["input_ids"][1:-1] != left.tolist():
            return False
    return True


same = [reads_back(t, scores, keeps) for t in texts for scores in t["rankings"] for keeps in (False, True)]
np.save(run.result.with_name(run.result.name + ".same.npy"), np.array(same))
run.report("ferret-xai")
