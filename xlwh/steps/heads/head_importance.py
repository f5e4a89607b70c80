"""Value heads by gradients and by what their attention looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.heads.game import fitting, game_of, head_settings, input_parameters, valued_examples
from xlwh.steps.models.evaluated import Corpus
from xlwh.steps.models.selftests import load
from xlwh.steps.upstream import identity
from xlwh.store import Slot, fingerprint, schema
from xlwh.study import Heads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xlwh.heads.scores import Gold
    from xlwh.models import LoadedModel
    from xlwh.models.tokenize import Encoded

CODE_VERSION = "1"


def run(context: Context, key: Key) -> StepResult:
    """Write `head_importance` of one model in one language, a file per dataset."""
    model, language = str(key.model), str(key.language)
    heads = head_settings(context, model)
    if isinstance(heads, StepResult):
        return heads
    found = fitting(context, model, language)
    corpora = [found[dataset] for dataset in heads.datasets if dataset in found]
    if not corpora:
        return not_applicable(f"`{model}` has no dataset that heads are valued on in `{language}`.")
    if not heads.importance:
        return not_applicable("The study asks for no other measures of importance.")
    pin = context.zoo.pin(model)
    stale = []
    for corpus in corpora:
        slot = Slot("head_importance", (model, language), corpus.dataset)
        parameters = {
            **input_parameters(context, model),
            "max_examples": heads.max_examples,
            "methods": heads.importance,
        }
        current = fingerprint(
            "head_importance", CODE_VERSION, parameters, (*pin.identity, identity(corpus.entry))
        )
        if context.force or not context.warehouse.is_fresh(slot, current):
            stale.append((corpus, slot, current))
    if not stale:
        return StepResult(status="fresh")
    watch, loaded = Stopwatch(), load(context, model, "heads")
    if not all(method.startswith("gradient") for method in heads.importance):
        load(context, model, "attention_weights")
    rows = examples = 0
    for number, (corpus, slot, current) in enumerate(stale):
        context.progress(f"{corpus.dataset}: importance", number, len(stale))
        chosen = valued_examples(context, heads, corpus)
        frame = _valued(context, loaded, heads, corpus, chosen)
        context.warehouse.write({slot: frame}, current, pin.provenance)
        rows += frame.height
        examples += chosen.height
    return StepResult("written", rows, examples, watch.seconds)


def _valued(
    context: Context, loaded: LoadedModel, heads: Heads, corpus: Corpus, examples: pl.DataFrame
) -> pl.DataFrame:
    import numpy as np

    types = schema("head_importance")
    if examples.is_empty():
        return pl.DataFrame(schema=types)
    _, encoded, gold = game_of(context, loaded, examples, ("head",), heads)
    weights = gold.weights / gold.weights.sum()
    parts = []
    for method, values in _measures(loaded, heads, encoded, gold).items():
        mean = np.tensordot(weights, values, axes=1)
        sd = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(mean.shape, np.nan)
        layer, head = np.indices(mean.shape)
        parts.append(
            pl.DataFrame(
                {
                    "model": loaded.key,
                    "dataset": corpus.dataset,
                    "split": examples["split"][0],
                    "language": corpus.language,
                    "method": method,
                    "unit": "head",
                    "layer": layer.ravel(),
                    "head": head.ravel(),
                    "value": mean.ravel(),
                    "sd": pl.Series(sd.ravel()).fill_nan(None),
                    "num_examples": len(values),
                }
            ).select(pl.col(name).cast(dtype) for name, dtype in types.items())
        )
    return pl.concat(parts)


def _measures(
    loaded: LoadedModel, heads: Heads, encoded: Encoded, gold: Gold
) -> dict[str, NDArray[np.float64]]:
    """Every measure that the study asks for: `[examples, layers, heads]` each."""
    from xlwh.heads.importance import LOOKS, attention_looks, gradient_importance, layer_normalised

    found: dict[str, NDArray[np.float64]] = {}
    if any(method.startswith("gradient") for method in heads.importance):
        gradients = gradient_importance(loaded, encoded, gold)
        found["gradient"], found["gradient_layer_norm"] = gradients, layer_normalised(gradients)
    looks = [method for method in heads.importance if method in LOOKS]
    if looks:
        found |= attention_looks(loaded, encoded, looks)
    return {method: found[method] for method in heads.importance}
