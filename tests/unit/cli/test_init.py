"""`xlwh init`: the template, and the study of a paper."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from xlwh.papers import ALL, PAPERS, compose


@pytest.mark.parametrize("size", [None, "small", "smoke"])
@pytest.mark.parametrize("paper", PAPERS)
def test_the_study_of_a_paper_and_what_to_run_next(
    xlwh: Any, tmp_path: Path, paper: str, size: str | None
) -> None:
    folder = tmp_path / "a study"
    code, out, _ = xlwh("init", "--paper", paper, *([] if size is None else ["--size", size]), str(folder))
    assert code == 0
    assert (folder / "study.toml").read_text(encoding="utf-8") == compose(paper, size or "full")
    commands = [line.split("#")[0].strip() for line in out.splitlines()[1:]]
    assert commands == [
        f"cd '{folder}'",
        "xlwh pin",
        "xlwh fetch",
        "xlwh plan",
        "xlwh materialize",
        f"xlwh report --paper {paper}",
    ]


@pytest.mark.parametrize("paper", PAPERS)
def test_smoke_downloads_what_the_full_study_downloads_and_the_help_says_so(xlwh: Any, paper: str) -> None:
    hubs = [
        {each["hub"] for each in tomllib.loads(compose(paper, size))["models"].values() if "hub" in each}
        for size in ("smoke", "small", "full")
    ]
    assert hubs[0] == hubs[1] == hubs[2] != set()
    code, out, _ = xlwh("init", "--help")
    assert code == 0
    assert "downloads the same checkpoints" in " ".join(out.split())


def test_without_a_paper_it_is_the_template(xlwh: Any, tmp_path: Path) -> None:
    code, out, _ = xlwh("init", str(tmp_path))
    assert code == 0
    assert "Set data_root" in out
    assert tomllib.loads((tmp_path / "study.toml").read_text(encoding="utf-8"))["name"] == "my-study"


def test_what_is_there_is_left_as_it_is(xlwh: Any, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("name = 'mine'\n", encoding="utf-8")
    code, _, err = xlwh("init", "--paper", PAPERS[0], str(tmp_path))
    assert code == 1
    assert "exists already" in err
    assert (tmp_path / "study.toml").read_text(encoding="utf-8") == "name = 'mine'\n"


def test_a_size_is_that_of_a_paper(xlwh: Any, tmp_path: Path) -> None:
    code, _, err = xlwh("init", "--size", "smoke", str(tmp_path))
    assert code == 2
    assert "name the paper" in err
    code, _, err = xlwh("init", "--paper", "none", str(tmp_path))
    assert code == 2
    assert all(name in err for name in (*PAPERS, ALL))
    assert not list(tmp_path.iterdir())
