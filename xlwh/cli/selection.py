"""From the names on the command line to partitions, and which of those need any work."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from xlwh.errors import XlwhError
from xlwh.steps import runner
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, Marked, Outcome, Step, in_order, partitions, step_of, upstream
from xlwh.study import Study
from xlwh.tables import TABLES

_FEW = 3
"""Names that are offered for one that is none."""


class SelectionError(XlwhError):
    """A name on the command line is none of the study's."""


@dataclass(frozen=True)
class Selection:
    """Steps with their partitions, in the order of the plan, and views."""

    steps: dict[Step, list[Key]]
    views: tuple[str, ...]


@dataclass
class Sorted:
    """A selection's partitions, sorted into those to make and those that need nothing."""

    todo: dict[Step, set[Key]] = field(default_factory=dict)
    settled: list[Outcome] = field(default_factory=list)


def select(
    study: Study,
    views: Sequence[str],
    assets: Sequence[str] = (),
    models: Sequence[str] = (),
    languages: Sequence[str] = (),
    datasets: Sequence[str] = (),
    tables_of: Callable[[str], Collection[str]] | None = None,
) -> Selection:
    """The partitions that are meant; no assets: everything. `+name` adds all that `name` is made from.

    `tables_of` says which stored tables a view reads, for `+view`; by default it reads all of them.
    """
    _check("model", models, list(study.models))
    _check("language", languages, study.all_languages())
    _check("dataset", datasets, list(study.datasets))
    names = [asset.removeprefix("+") for asset in assets]
    _check("asset", names, [*TABLES, *(s for s in STEPS if s not in TABLES), *views])

    def filtered(step: Step) -> list[Key]:
        return [
            key
            for key in partitions(study, step)
            if _wanted(key.model, models)
            and _wanted(key.language, languages)
            and _wanted(key.dataset, datasets)
        ]

    chosen: dict[str, set[Key]] = {}
    for asset, name in zip(assets or STEPS, names or STEPS, strict=True):
        if assets and name in views and name not in TABLES:
            read = TABLES if tables_of is None else tables_of(name)
            added = {step_of(table): None for table in read} if asset.startswith("+") else {}
        else:
            added = {STEPS[name] if name in STEPS else step_of(name): None}
        for step in added:
            chosen.setdefault(step.name, set()).update(filtered(step))
            if asset.startswith("+"):
                _add_needed(study, step, chosen)
    return Selection(
        {step: in_order(study, step, chosen[step.name]) for step in STEPS.values() if step.name in chosen},
        tuple(view for view in views if not assets or view in names),
    )


def select_of(
    study: Study,
    assets: Sequence[str] = (),
    models: Sequence[str] = (),
    languages: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> Selection:
    """The same with the views that a study has, and what these read."""
    return select(study, view_names(study), assets, models, languages, datasets, partial(tables_of, study))


def view_names(study: Study) -> list[str]:
    """The views that a study has: xlwh's, its own, and metrics of installed packages."""
    from xlwh.store.metrics import registered
    from xlwh.store.views import Sources, with_shipped

    names = (*Sources(tuple(with_shipped(study.sql_folder))).names, *registered())
    return [name for name in dict.fromkeys(names) if name not in TABLES]


def tables_of(study: Study, view: str) -> Collection[str]:
    """The stored tables that a view reads, directly or through others; all of them where that cannot be told."""
    from xlwh.store.views import Sources, with_shipped

    sources = Sources(tuple(with_shipped(study.sql_folder)))
    return sources.load_for(view).files if view in sources.names else TABLES


def _add_needed(study: Study, step: Step, chosen: dict[str, set[Key]]) -> None:
    """Add all partitions that some of a step are made from, directly or through others, in whatever language."""
    left = [(step, key) for key in chosen[step.name]]
    while left:
        for source, key in upstream(study, *left.pop(), needed=True):
            known = chosen.setdefault(source.name, set())
            if key not in known:
                known.add(key)
                left.append((source, key))


def sort(context: Context, selection: Selection) -> Sorted:
    """Ask every partition whether it is fresh, each after those that it reads; with `force` none is asked."""
    found, stale = Sorted(), Marked(context.study)
    context.planner.refresh()
    for step, keys in selection.steps.items():
        settled = []
        for key in keys:
            ahead = context.force or stale.is_read_by(step, key)
            result = None if ahead else runner.fresh(step, context, key)
            if result is None:
                stale.add(step, key)
                found.todo.setdefault(step, set()).add(key)
            else:
                settled.append(Outcome(step, key, result))
        if step in found.todo and not any(_status(outcome) == "fresh" for outcome in settled):
            # The first time, Dagster is to record those that do not apply too; and all of them make one block.
            found.todo[step].update(outcome.key for outcome in settled)
        else:
            found.settled += settled
    return found


def _status(outcome: Outcome) -> str:
    return "" if outcome.result is None else outcome.result.status


def _wanted(value: str | None, chosen: Sequence[str]) -> bool:
    return not chosen or value is None or value in chosen


def _check(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name in known:
            continue
        if len(known) <= _FEW:
            hint = f"There are: {', '.join(known) or 'none'}."
        else:
            near = difflib.get_close_matches(name.lower(), known, n=_FEW, cutoff=0.0)
            hint = f"Did you mean {', '.join(f'`{each}`' for each in near[:-1])} or `{near[-1]}`?"
        raise SelectionError(f"There is no {what} `{name}`. {hint}")
