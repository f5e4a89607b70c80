"""What a study costs with fewer examples, table by table: shown by `xlwh plan --cuts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from xlwh.cli.render import disk, duration, grid
from xlwh.cli.selection import select_of
from xlwh.published import load
from xlwh.report.papers.contents import REPORTED
from xlwh.report.papers.tables import measured_by
from xlwh.steps.base import Key
from xlwh.steps.history import Made
from xlwh.steps.plan import Step
from xlwh.steps.rates import Estimate
from xlwh.study import Study
from xlwh.upkeep.cuts import Cut, cuts, half_width
from xlwh.upkeep.survey import Survey


@dataclass(frozen=True)
class Share:
    """A cut with what it costs."""

    cut: Cut
    device: str
    """Where models work."""
    everything: Estimate
    tables: Mapping[str, Estimate]
    """Table of a paper -> everything that it is made from; tables share much of it."""

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""

        def known(estimate: Estimate) -> dict[str, Any]:
            return {
                "seconds": round(estimate.seconds, 1),
                "with_models_s": round(estimate.with_models, 1),
                "size_bytes": round(estimate.size_bytes),
                "unknown_jobs": estimate.unknown,
            }

        return {
            "share": self.cut.share,
            "device": self.device,
            "set": {".".join(place): value for place, value in self.cut.settings.items()},
            "examples": dict(self.cut.examples),
            "half_width": {name: round(half_width(n), 4) for name, n in self.cut.examples.items()},
            "everything": known(self.everything),
            "tables": {name: known(estimate) for name, estimate in self.tables.items()},
        }


def shares(survey: Survey, made: Iterable[Made]) -> list[Share]:
    """Every cut of a study, from what like jobs took."""
    made, tables = list(made), _tables(survey.planner.study)
    device = next((each.device for each in made if each.model is not None), "cpu")
    return [
        Share(cut, device, cut.cost(made), {name: cut.cost(made, steps) for name, steps in tables.items()})
        for cut in cuts(survey)
    ]


def _tables(study: Study) -> dict[str, Mapping[Step, Sequence[Key]]]:
    """Table of a paper of which the study measures something -> the partitions that it is made from."""
    printed, found = load(), dict[str, Mapping[Step, Sequence[Key]]]()
    for paper in REPORTED.values():
        for table in paper.tables:
            rows = printed.filter(paper=paper.published, table=table.number)
            models, datasets = measured_by(study, rows)
            if models:
                asset = table.command.split()[-1].removeprefix("+")
                found[f"{paper.name}, {table.name.lower()}"] = select_of(
                    study, [f"+{asset}"], models, (), datasets
                ).steps
    return found


def show(found: Sequence[Share]) -> None:
    """Print the cuts side by side."""
    heads = [
        f"{share.cut.share:.0%}" if share.cut.share >= 0.1 else f"{share.cut.share:.1%}" for share in found
    ]
    rows: list[list[str]] = [
        [f"examples, {name}", *(f"{share.cut.examples[name]:,}" for share in found)]
        for name in found[0].cut.examples
    ]
    rows += [
        [f"interval, {name}", *(f"\u00b1 {half_width(share.cut.examples[name]):.3f}" for share in found)]
        for name in found[0].cut.examples
    ]
    rows += [[f"time, {name}", *(_time(share.tables[name]) for share in found)] for name in found[0].tables]
    rows.append(["time, everything", *(_time(share.everything) for share in found)])
    rows.append(
        [
            f"  of it models, on {found[0].device}",
            *(_time(share.everything, with_models=True) for share in found),
        ]
    )
    rows.append(["disk, everything", *(disk(share.everything) for share in found)])
    grid(["share of the examples", *heads], rows)
    click.echo(
        "Every share gives every table; what it costs is wider intervals: at most so much at 95 %, for an accuracy or the mean "
        "of another value between 0 and 1, in the language with the fewest examples, where examples share no texts. What is "
        "trained on is not cut. Tables share work, so that their times do not add up."
    )
    places = found[-1].cut.settings
    if places:
        click.echo("What a share sets in the study:")
        grid(
            ["setting", *heads[1:]],
            [
                [".".join(place), *(f"{share.cut.settings[place]:,}" for share in found[1:])]
                for place in places
            ],
        )


def _time(estimate: Estimate, with_models: bool = False) -> str:
    seconds = estimate.with_models if with_models else estimate.seconds
    if estimate.unknown and not seconds:
        return "?"
    return duration(seconds) + (" and ?" if estimate.unknown else "")
