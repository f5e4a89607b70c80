"""captum's layer integrated gradients and input x gradient, example by example, as it is used on texts.

`python captum_attributions.py INPUTS lig|input_x_gradient RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

import json

from measure import Run

run = Run()
with run.stage("import"):
    import numpy as np
    import torch
    from captum.attr import InputXGradient, LayerIntegratedGradients
    from transformers import AutoModelForSequenceClassification

with run.stage("load"):
    settings = json.loads((run.inputs / "settings.json").read_text())
    cases = json.loads((run.inputs / "pairs.json").read_text())[: settings["sizes"][run.task]]
    model = AutoModelForSequenceClassification.from_pretrained(settings["model"]).eval()
    embedding = model.get_input_embeddings()
    names = list(cases[0]["inputs"])
    others = [name for name in names if name != "input_ids"]


def from_ids(ids: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids, **dict(zip(others, inputs, strict=True))).logits


def from_vectors(vectors: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
    return model(inputs_embeds=vectors, **dict(zip(others, inputs, strict=True))).logits


found = []
with run.stage("work"):
    integrated, product = LayerIntegratedGradients(from_ids, embedding), InputXGradient(from_vectors)
    for case in cases:
        inputs = {name: torch.tensor([values]) for name, values in case["inputs"].items()}
        extra = tuple(inputs[name] for name in others)
        if run.task == "lig":
            made = integrated.attribute(
                inputs["input_ids"],
                baselines=torch.tensor([case["baseline"]]),
                target=case["target"],
                additional_forward_args=extra,
                n_steps=settings["steps"],
                internal_batch_size=settings["batch"],
            )
        else:
            vectors = embedding(inputs["input_ids"]).detach().requires_grad_(True)
            made = product.attribute(vectors, target=case["target"], additional_forward_args=extra)
        found.append(made[0].sum(-1).detach().numpy())

np.save(run.result.with_suffix(".npy"), np.concatenate(found))
run.report("captum")
