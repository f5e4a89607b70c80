"""Which attribution methods a model may be used for, by its self-test."""

from __future__ import annotations

from collections.abc import Iterable

from xlwh.errors import ModelError
from xlwh.selftest import capability_of, refusal
from xlwh.steps.planning import Partition


def allowed(partition: Partition, model: str, methods: Iterable[str]) -> list[str]:
    """The attribution methods that a model is not refused; the partition's results name the others.

    ModelError with the reasons if all are refused. A model that was never tried is refused nothing yet: the runner
    tries it before it makes anything.
    """
    asked, known = list(methods), partition.self_test(model)
    reasons = {method: refusal(model, known, capability_of(method)) for method in asked}
    refused = {method: reason for method, reason in reasons.items() if reason is not None}
    if asked and len(refused) == len(asked):
        raise ModelError(" ".join(dict.fromkeys(refused.values())))
    if refused:
        partition.remark(
            f"without {', '.join(refused)}, which the self-test of `{model}` refuses (see `models.self_test`)"
        )
    return [method for method in asked if method not in refused]
