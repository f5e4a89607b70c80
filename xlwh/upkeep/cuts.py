"""What a study would cost with fewer examples, and how wide its intervals would be.

A cut leaves models, languages, methods and what is trained on as they are. It takes a share of the examples that models
are evaluated on, and of the rows that samplers of heads evaluate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xlwh.steps.base import Key
from xlwh.steps.history import Made
from xlwh.steps.plan import Step
from xlwh.steps.rates import Estimate
from xlwh.study import Study
from xlwh.upkeep.estimates import estimates
from xlwh.upkeep.imagined import Imagined, StepPlan
from xlwh.upkeep.survey import Survey

SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Of the examples that models are evaluated on."""

_Z = 1.959964
"""97.5 % quantile of the normal distribution."""

Place = tuple[str, ...]
"""Keys that lead to a value of a study."""

_LIMITS: Mapping[Place, str] = {
    ("attribution", "max_examples"): "attributions",
    ("faithfulness", "max_examples"): "faithfulness",
    ("heads", "max_evaluated"): "pruning",
}
"""Limits of a section -> what is measured on so many examples."""


@dataclass(frozen=True)
class Cut:
    """A study with a share of its examples."""

    share: float
    settings: Mapping[Place, int]
    """What it sets in the study; nothing at share 1."""
    examples: Mapping[str, int]
    """Dataset that is evaluated on -> its examples in the language that has the fewest; so of sections with a limit."""
    planner: Imagined
    plans: Mapping[Step, StepPlan]

    def cost(self, made: Iterable[Made], of: Mapping[Step, Iterable[Key]] | None = None) -> Estimate:
        """Of everything, or of these partitions alone, from what like jobs took."""
        plans = self.plans
        if of is not None:
            wanted = {step: set(keys) for step, keys in of.items()}
            plans = {
                step: replace(plan, made={k: jobs for k, jobs in plan.made.items() if k in wanted[step]})
                for step, plan in plans.items()
                if step in wanted
            }
        total = Estimate()
        for each in estimates(self.planner, plans, made).values():
            total.add(each)
        return total


def half_width(examples: int) -> float:
    """Largest half-width of the 95 % interval of a mean of so many values between 0 and 1, such as an accuracy.

    1.96 * sqrt(1 / 4n): values vary the most where half of them are 0 and half 1. Values are taken as independent: of
    examples that share a text, such as the three hypotheses of a premise, the interval can be wider.
    """
    return _Z * math.sqrt(0.25 / max(1, examples))


def cuts(survey: Survey) -> Iterator[Cut]:
    """The study of a survey at every share.

    Partitions that are stored already are fresh at share 1 and would be made anew at the others.
    """
    study, counts = survey.planner.study, _counts(survey)
    for share in SHARES:
        examples = {name: _part(count, share) for name, count in counts.items()}
        limited = {_LIMITS[place]: _part(n, share) for place, n in _limits(study) if place in _LIMITS}
        examples |= {name: min(count, *examples.values()) for name, count in limited.items() if examples}
        if share == 1.0:
            yield Cut(share, {}, examples, survey.planner, survey.plans)
            continue
        settings: dict[Place, int] = {("datasets", name, "max_examples"): examples[name] for name in counts}
        settings |= {place: _part(limit, share) for place, limit in _limits(study)}
        planner, plans = survey.of_another(_with(study, settings))
        yield Cut(share, settings, examples, planner, plans)


def _counts(survey: Survey) -> dict[str, int]:
    study = survey.planner.study
    trained = {name for model in study.models.values() for name in model.training_datasets}
    found: dict[str, int] = {}
    for model in study.models:
        for language in study.all_languages():
            for name in study.evaluations(model, language):
                rows = 0 if name in trained else survey.examples(name, language)
                if rows:
                    found[name] = min(rows, found.get(name, rows))
    return found


def _limits(study: Study) -> Iterator[tuple[Place, int]]:
    """Numbers of examples and rows that sections of the study set."""
    limits: dict[Place, int | None] = {("attribution", "max_examples"): study.attribution.max_examples}
    if study.attribution.probes is not None:
        limits["attribution", "probes", "max_examples"] = study.attribution.probes.max_examples
    if study.faithfulness is not None:
        limits["faithfulness", "max_examples"] = study.faithfulness.max_examples
    if study.heads is not None:
        limits["heads", "max_examples"] = study.heads.max_examples
        limits["heads", "max_evaluated"] = study.heads.max_evaluated
        for name, sampler in study.heads.samplers.items():
            limits["heads", "samplers", name, "max_rows"] = sampler.max_rows
    for place, limit in limits.items():
        if limit is not None:
            yield place, limit


def _part(number: int, share: float) -> int:
    return max(1, math.ceil(number * share))


def _with(study: Study, settings: Mapping[Place, int]) -> Study:
    said = study.said()
    for (*path, last), value in settings.items():
        table: Any = said
        for key in path:
            table = table[key]
        table[last] = value
    return Study.model_validate(said)
