"""Every paper from its name to its report, as a newcomer types it: init, pin, fetch, plan, materialize, report.

The hub is one of this machine, with tiny random checkpoints and made-up rows under the ids that the studies name. So no
number means anything; but each one that a paper prints has to be there, each figure drawn, and nothing asked of the
network after `xlwh fetch`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from papers.part import Part
from papers.stand_in import TWELVE, stand_in
from reached_cells import reached

from xlwh.papers import ALL
from xlwh.published import load as published
from xlwh.report.papers.contents import REPORTED
from xlwh.study import load

PROGRAM = "import sys; from xlwh.cli import main; sys.exit(main())"
SHAPES: Mapping[str, Mapping[str, Mapping[str, int]]] = {"heads": {"FacebookAI/xlm-roberta-base": TWELVE}}
"""Paper -> stand-ins that are as deep as what they stand for, since its figures show every layer and head."""

PARTS: Mapping[str, Part] = {
    "ccta": Part(
        languages="en ar de ko zh",
        models="mbert|xlm-base|xlmr-base|ccta-xlm-base-xnli|ccta-xlmr-base-xnli|ccta-mbert-paws-x"
        "|ccta-xlmr-base-paws-x(-de)?|ccta-mbert-xquad",
    ),
    "concepts": Part(
        languages="en de fr",
        models="mbert.*|mt5-base|mt5-ted-(fr|de)",
        datasets=r"ted-(de|fr).*|iwslt-test1[14]-(de|fr)|pan-x.*|sst2.*",
    ),
    "faithfulness": Part(
        models="(mbert-uncased|bert)-(sst|agnews|multirc)|bert|mbert-uncased|(xlmr-base|xlmr-large|roberta)(-sst.*)?"
        "|bert-(zh|es|hi)|(mbert-uncased|bert-zh)-ChnSentiCorp|(mbert-uncased|bert-es)-paws-x-es"
        "|(mbert-uncased|bert-hi)-xnli-hi",
        datasets="(sst|agnews|multirc|ChnSentiCorp|paws-x|xnli)(-train|-dev)?",
    ),
}
"""Paper -> what the ordinary tests keep of its study: of each kind of model and of data one or two. The others are made whole."""

IN_ALL_FORMS = "heads"
"""The paper whose report is written as PDF and LaTeX, too."""

_NO_RATIO = """
    exists (
        select 1 from faithfulness as found
        where found.random_score = 0 and found.ratio is null and found.language = cells.language
            and found.dataset = cells.dataset
            and cells.metric = concat(if(mode = 'soft', 'soft_', ''), side, '_ratio.', method)
    )
"""
NOT_MEASURED: Mapping[str, Mapping[str, str]] = {
    "concepts": {
        "published_model = 'mBERT base'": "entities by a head that was never trained, which xlwh refuses"
    },
    "faithfulness": {
        _NO_RATIO: "a ratio to random attributions that score 0, as they may with eight examples"
    },
}
"""Paper -> a condition on `published_vs_measured` -> why those numbers cannot be had."""


@dataclass
class Researcher:
    """A folder, a hub, and a command line."""

    folder: Path
    hub: HubServer
    settings: dict[str, str] = field(default_factory=dict)

    def xlwh(self, *arguments: str) -> str:
        """What a command prints; its exit code has to be 0."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "XLWH_")) or name == "XLWH_WORKERS"
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=self.folder,
            env=environment | self.hub.environment(self.folder / "hf") | self.settings,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"xlwh {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def rows(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.xlwh("sql", "--json", query))
        return found


@pytest.fixture
def researcher(tmp_path: Path) -> Iterator[Researcher]:
    with HubServer() as hub:
        yield Researcher(tmp_path, hub)


def prepare(researcher: Researcher, name: str, part: Part | None = None) -> None:
    """A paper's study, or a part of it, with all that it names, in the researcher's folder, by the commands that `xlwh init` names."""
    told = researcher.xlwh("init", "--paper", name, "--size", "smoke", "study")
    commands = re.findall(r"^  (cd|xlwh) (.*?)(?:  +#.*)?$", told, re.MULTILINE)
    assert [rest.split()[0] for _, rest in commands] == [
        "study",
        "pin",
        "fetch",
        "plan",
        "materialize",
        "report",
    ]
    researcher.folder /= "study"
    if part is not None:
        part.cut(researcher.folder / "study.toml")
    stand_in(researcher.hub, researcher.folder / "study.toml", SHAPES.get(name, {}))
    researcher.xlwh("pin")
    fetched = researcher.xlwh("fetch")
    assert "to fetch" not in fetched.splitlines()[-1]
    researcher.settings["HF_HUB_OFFLINE"] = "1"
    researcher.hub.requests.clear()
    assert "Not made yet" in researcher.xlwh("plan", "--no-probe")


def made(researcher: Researcher, name: str, part: Part | None = None) -> None:
    """The whole study, or the part."""
    prepare(researcher, name, part)
    researcher.xlwh("materialize")
    assert "Not made yet" not in researcher.xlwh("plan", "--no-probe")


CELL = ("table", "model", "dataset", "source_language", "language", "metric", "variant")
"""What tells the printed numbers of a paper apart."""


def require_filled(researcher: Researcher, name: str, *files: str) -> None:
    """Every number that the study asks for is measured, but those that cannot be, and each of its figures drawn."""
    paper = REPORTED[name]
    study = load(researcher.folder / "study.toml")
    printed = [row for row in published().to_dicts() if row["paper"] == paper.published]
    asked = {tuple(row[column] for column in CELL) for row in printed if reached(study, row)}
    assert {cell[0] for cell in asked} == {title.number for title in paper.tables}
    excepted = " or ".join(f"({condition})" for condition in NOT_MEASURED.get(name, {})) or "false"
    rows = researcher.rows(
        f"""select {", ".join(f'"{column}"' for column in CELL).replace('"model"', "published_model as model")},
            ({excepted}) as excepted
        from published_vs_measured as cells where paper = '{paper.published}' and measured is null"""
    )
    missing = {tuple(row[column] for column in CELL): row["excepted"] for row in rows}
    assert {cell for cell in asked if missing.get(cell) is False} == set()
    assert len(missing.keys() & asked) <= 0.03 * len(asked)
    told = researcher.xlwh("report", "--paper", name, *files)
    assert "printed numbers were measured here" in told
    page = (researcher.folder / f"{name}.html").read_text(encoding="utf-8")
    sections = re.findall(r'<h3 id="figure-\d+">(.*?)</h3>(.*?)</section>', page, re.DOTALL)
    assert len(sections) == len(paper.figures)
    assert [
        title for title, section in sections if "<svg" not in section or 'class="missing"' in section
    ] == []
    assert page.count('<h3 id="table-') == len(paper.tables)


def in_full(researcher: Researcher, name: str) -> None:
    """The report of a whole paper: all that is printed is asked for."""
    study = load(researcher.folder / "study.toml")
    printed = [row for row in published().to_dicts() if row["paper"] == REPORTED[name].published]
    left = [row for row in printed if not reached(study, row)]
    assert len(left) <= len(printed) * (0.15 if name == "concepts" else 0), left
    require_filled(researcher, name)


@pytest.mark.parametrize("name", sorted(REPORTED))
def test_a_paper_from_its_name_to_its_report(name: str, researcher: Researcher) -> None:
    made(researcher, name, PARTS.get(name))
    more = (
        ("--html", f"{name}.html", "--pdf", "paper.pdf", "--latex", "latex") if name == IN_ALL_FORMS else ()
    )
    require_filled(researcher, name, *more)
    if more:
        assert (researcher.folder / "paper.pdf").read_bytes().startswith(b"%PDF-")
        assert len(list((researcher.folder / "latex").glob("*.tex"))) > len(REPORTED[name].tables)
    assert researcher.hub.requests == []


@pytest.mark.slow
def test_all_papers_in_one_study(researcher: Researcher) -> None:
    made(researcher, ALL)
    for name in REPORTED:
        in_full(researcher, name)
    told = researcher.xlwh("report", "--paper", ALL)
    assert all(f"{name}: " in told for name in REPORTED)
    page = (researcher.folder / f"{ALL}.html").read_text(encoding="utf-8")
    assert page.count('class="paper"') == sum(len(paper.tables) for paper in REPORTED.values())
    assert researcher.hub.requests == []
