"""The command that shows what a run would do."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xlwh.cli.app import command, study_option, warehouse_option
from xlwh.cli.options import chosen_partitions, device_option, file_of_study, quiet_libraries
from xlwh.cli.render import disk, duration

if TYPE_CHECKING:
    from xlwh.steps.history import Made
    from xlwh.steps.plan import Step
    from xlwh.steps.rates import Estimate
    from xlwh.upkeep.probe import Probed
    from xlwh.upkeep.survey import Survey


_ONE = "The time is that of one process; what --workers come to share it."


@command()
@chosen_partitions
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--no-probe", is_flag=True, help="Measure nothing where this warehouse holds nothing to estimate from."
)
@click.option(
    "--cuts",
    "with_cuts",
    is_flag=True,
    help="Show also what a share of the examples costs, for all and for each table of a paper that the study repeats, "
    "and how wide intervals are then.",
)
@device_option
@study_option
@warehouse_option
def plan(
    assets: tuple[str, ...],
    models: tuple[str, ...],
    languages: tuple[str, ...],
    datasets: tuple[str, ...],
    force: bool,
    as_json: bool,
    no_probe: bool,
    with_cuts: bool,
    study_file: Path,
    root: Path,
) -> int:
    """Show what `xlwh materialize` would make, and why, and what is missing.

    Per step: partitions that are fresh, to be made, not applicable, and waiting for something that is missing; time
    and disk, from what earlier work took in this warehouse, else from a measured probe of a few examples. ASSET and the
    options are those of materialize. Nothing is written into the warehouse. The exit code is 1 if something is missing.
    """
    quiet_libraries()
    from xlwh.cli.display import faults
    from xlwh.cli.selection import select_of
    from xlwh.place import mirror
    from xlwh.steps.history import History
    from xlwh.study import load
    from xlwh.upkeep.estimates import estimates, overhead
    from xlwh.upkeep.survey import surveyed

    # A mistyped one is one error, not one for each model and dataset.
    mirror()
    study, study_file = load(study_file), file_of_study(study_file)
    selection = select_of(study, assets, models, languages, datasets)
    with surveyed(study, root, selection.steps, force) as survey:
        history = History(root).of_this_machine()
        found = estimates(survey.planner, survey.plans, history)
        unknown = [step for step, estimate in found.items() if estimate.unknown]
        if not as_json:
            _show(survey, found, overhead(survey.plans, history))
            faults(survey, study_file)
        probed: Probed | None = None
        measured: list[Made] = []
        if unknown and survey.is_possible and not no_probe:
            probed = _probed(survey, history)
            if probed is not None:
                known = {(each.step, each.name) for each in history}
                measured = [each for each in probed.made if (each.step, each.name) not in known]
                found = estimates(survey.planner, survey.plans, [*history, *measured])
                if not as_json:
                    _show_measured(found, probed)
        elif unknown and not as_json:
            from xlwh.cli.render import counted

            why = "something is missing" if not survey.is_possible else "--no-probe"
            click.echo(
                f"No estimate of {counted(len(unknown), 'step')}: nothing of that kind was made in this warehouse, and "
                f"nothing is measured ({why})."
            )
        shown = None
        if with_cuts:
            from xlwh.cli.cuts import shares, show

            shown = shares(survey, [*history, *measured])
            if not as_json:
                show(shown)
        if as_json:
            plain = _plain(survey, found, probed, study_file)
            if shown is not None:
                plain["cuts"] = [each.plain() for each in shown]
            click.echo(json.dumps(plain, ensure_ascii=False, indent=1))
        return 0 if survey.is_possible else 1


def _probed(survey: Survey, history: Sequence[Any]) -> Probed | None:
    from xlwh.cli.render import console
    from xlwh.upkeep.probe import probe

    out = console(stderr=True)
    try:
        if out.is_terminal:
            with out.status("Measuring a few examples") as status:
                return probe(survey.planner, survey.plans, status.update)
        told = set[str]()

        def line(text: str) -> None:
            what = text.rpartition(", ")[2]
            if what not in told:
                told.add(what)
                print(
                    f"Measuring a copy of the study with {what}, in a folder that is thrown away",
                    file=sys.stderr,
                )

        return probe(survey.planner, survey.plans, line)
    except KeyboardInterrupt:
        click.echo("The measurement was stopped; nothing is left of it.", err=True)
        return None


def _show(survey: Survey, found: Mapping[Step, Estimate], beside: Estimate | None) -> None:
    from xlwh.cli.render import counted, grid
    from xlwh.upkeep.reasons import listed

    rows: list[list[Any]] = []
    for step, plan in survey.plans.items():
        estimate = found.get(step)
        waiting = len(plan.waiting) + len(plan.faults)
        rows.append(
            [
                step.name,
                len(plan.fresh) or None,
                len(plan.made) or None,
                plan.not_applicable or None,
                waiting or None,
                _time(estimate),
                disk(estimate),
            ]
        )
    heads = ["step", "fresh", "to make", "not applicable", "waiting", "time", "disk"]
    total = _total(found)
    if beside is not None:
        total.add(beside)
        rows.append(["(views, runs)", None, None, None, None, _time(beside), ""])
    sums = [sum(int(row[n] or 0) for row in rows) or None for n in range(1, 5)]
    rows.append(["all", *sums, _time(total if found else None), disk(total if found else None)])
    kept = [n for n in range(len(heads)) if n in (0, 2) or any(row[n] for row in rows)]
    grid([heads[n] for n in kept], [[row[n] for n in kept] for row in rows])
    why: dict[str, dict[str, int]] = {}
    for step, plan in survey.plans.items():
        for reason, number in plan.why.items():
            why.setdefault(reason, {})[step.name] = number
    for text in listed(why):
        click.echo(text)
    new = sum(plan.new for plan in survey.plans.values())
    if new:
        click.echo(f"Not made yet: {counted(new, 'partition')}")
    if total.seconds:
        click.echo(_ONE)


def _show_measured(found: Mapping[Step, Estimate], probed: Probed) -> None:
    from xlwh.cli.render import grid

    rows: list[list[Any]] = [[step.name, _time(each), disk(each)] for step, each in found.items()]
    total = _total(found)
    grid(["step", "time", "disk"], [*rows, ["all", _time(total), disk(total)]])
    click.echo(
        f"Measured in {probed.seconds:.0f} s with up to {probed.examples} examples of {', '.join(probed.languages)}, on {probed.device}: "
        f"{', '.join(probed.models) or 'no model'}. Dagster's own time and the views come on top."
    )
    click.echo(_ONE)
    scaled = total.scaled
    if scaled:
        click.echo(f"{scaled:,} jobs of other models: scaled by their weights outside of the embeddings.")
    for step, why in probed.failed.items():
        click.echo(f"Could not be measured: {step}: {why}")
    if not probed.is_complete:
        click.echo("The measurement ended before all was measured: it had taken long enough.")


def _total(found: Mapping[Step, Estimate]) -> Estimate:
    from xlwh.steps.rates import Estimate

    total = Estimate()
    for each in found.values():
        total.add(each)
    return total


def _time(estimate: Estimate | None) -> str:
    if estimate is None or (estimate.unknown and not estimate.seconds):
        return "" if estimate is None else "?"
    low, high = duration(estimate.low), duration(estimate.high)
    told = low if low == high else f"{duration(estimate.seconds)} ({low} to {high})"
    return f"{told} and ?" if estimate.unknown else told


def _plain(
    survey: Survey, found: Mapping[Step, Estimate], probed: Probed | None, study_file: Path
) -> dict[str, Any]:
    from xlwh.upkeep.preflight import told

    def plain(estimate: Estimate | None) -> dict[str, Any] | None:
        if estimate is None or estimate.unknown:
            return None
        return {
            "seconds": round(estimate.seconds, 4),
            "low_s": round(estimate.low, 4),
            "high_s": round(estimate.high, 4),
            "size_bytes": round(estimate.size_bytes),
        }

    return {
        "steps": [
            {
                "step": step.name,
                "fresh": len(plan.fresh),
                "to_make": len(plan.made),
                "not_applicable": plan.not_applicable,
                "waiting": len(plan.waiting) + len(plan.faults),
                "not_made_yet": plan.new,
                "why": plan.why,
                "estimate": plain(found.get(step)),
            }
            for step, plan in survey.plans.items()
        ],
        "missing": [*told(survey.looked.faults, study_file), *survey.waiting],
        "notes": survey.looked.notes,
        "measured": None
        if probed is None
        else {"models": probed.models, "seconds": round(probed.seconds, 1)},
    }
