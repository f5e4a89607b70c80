"""Pin a model of the study: what it is, exactly. Models that are fine-tuned here are trained by `finetuned`."""

from __future__ import annotations

from xlwh.models.describe import describe, models_row, noted
from xlwh.selftest import self_tested, summary
from xlwh.steps.base import Context, Key, StepResult, Stopwatch
from xlwh.steps.models.selftests import results_of, tested_with
from xlwh.store import Slot, fingerprint

CODE_VERSION = "1"


def run(context: Context, key: Key) -> StepResult:
    """Write the row of `models` for a hub id or a local folder, after loading it once and trying it out (`self_test`)."""
    name = str(key.model)
    options = context.study.models[name]
    if options.finetune is not None:
        from xlwh.steps.models import finetuned

        return finetuned.run(context, key)
    if options.scratch is not None:
        from xlwh.steps.models import scratch

        return scratch.run(context, key)
    pin = context.zoo.pin(name)
    parameters = {
        "kind": pin.kind,
        "source": pin.source,
        "revision": pin.revision,
        "labels": options.labels,
        **noted(options),
        "self_tested_with": tested_with(),
    }
    current = fingerprint("models", CODE_VERSION, parameters, pin.identity)
    slot = Slot("models", (name,))
    if not context.force and context.warehouse.is_fresh(slot, current):
        return StepResult(status="fresh")
    watch = Stopwatch()
    loaded = context.zoo.load(name)
    results = results_of(context, loaded, again=context.force)
    described = describe(pin, loaded, options) | self_tested(results, tested_with())
    context.warehouse.write({slot: models_row(described)}, current, pin.provenance)
    return StepResult(
        status="written",
        rows=1,
        duration_s=watch.seconds,
        metadata={
            **{x: described[x] for x in ("family", "task", "num_parameters", "dtype", "weight_hash")},
            "self-test": summary(results),
        },
    )
