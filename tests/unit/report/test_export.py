"""Files for a paper."""

import re
import sys
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from xlwh.cli import main
from xlwh.errors import XlwhError
from xlwh.report.export import export


def test_figures_and_tables(filled, tmp_path):
    paths = list(
        export(
            filled,
            tmp_path / "f",
            ["ccta_matrix"],
            ["svg"],
            ["csv", "latex", "markdown"],
            {"method": "random"},
            "dark",
        )
    )
    assert [p.name for p in paths] == [
        "ccta_matrix.svg",
        "ccta_matrix.csv",
        "ccta_matrix.tex",
        "ccta_matrix.md",
    ]
    text = paths[0].read_text()
    ET.fromstring(text)
    assert "var(" not in text
    assert "color-mix" not in text


def test_every_file_says_what_was_chosen(filled, tmp_path):
    chosen = {"method": "random", "variant": "strict"}
    paths = list(
        export(filled, tmp_path, ["ccta_matrix"], ["svg"], ["csv", "latex", "markdown"], chosen, "light")
    )
    svg, *tables = [path.read_text() for path in paths]
    words = [element.text or "" for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    caption = " ".join(words)
    for text in (caption, *tables[1:]):
        assert "method random" in text
        assert "variant strict" in text
    rows = pl.read_csv(tmp_path / "ccta_matrix.csv")
    assert rows["method"].unique().to_list() == ["random"]
    assert {"model", "dataset", "variant"} <= set(rows.columns)
    assert tables[1].startswith("% ")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"modle": "m"}, "none of these figures has a choice `modle`. Choices: measure"),
        ({"dataset": "xnli"}, "--set dataset=xnli: there is no such value. Values: "),
        ({"method": ""}, "--set method=: a value is missing."),
        ({"method": "LIG"}, "there is no such value. Values: lig, random"),
    ],
)
def test_a_choice_that_nothing_has_is_refused_before_anything_is_written(filled, tmp_path, chosen, message):
    with pytest.raises(XlwhError, match=re.escape(message)):
        list(export(filled, tmp_path / "none", ["ccta_matrix"], ["svg"], ["csv"], chosen, "light"))
    assert not (tmp_path / "none").exists()


def test_a_figure_that_cannot_meet_a_choice_is_left_out_and_named(filled, tmp_path):
    told = []
    paths = list(export(filled, tmp_path, [], ["svg"], [], {"method": "random"}, "light", told.append))
    names = {path.stem for path in paths}
    assert "ccta_matrix" in names
    # Figures without the choice are drawn as they are; those that have it, but not this value, are not.
    assert "task_scores" in names
    assert any(line.startswith("task_scores has no choice method") for line in told)
    assert not any(line.startswith("ccta_matrix") for line in told)
    left = [line for line in told if "no method `random`" in line]
    assert all(line.removeprefix("Left out ").partition(":")[0] not in names for line in left)
    for path in paths:
        text = path.read_text()
        assert "method lig" not in text


def test_png_and_pdf(filled, tmp_path):
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed")
    paths = list(export(filled, tmp_path, ["ccta_excess"], ["png", "pdf"], [], {}, "light"))
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"%PDF")


def test_without_the_converter_it_says_what_to_install(filled, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(XlwhError, match="pip install"):
        list(export(filled, tmp_path, ["ccta_excess"], ["png"], [], {}, "light"))


def test_the_command(filled, tmp_path, capsys):
    where = ["--warehouse", str(filled.root)]
    assert main(["report", str(tmp_path / "r.html"), *where]) == 0
    assert main(["report", "--figures", str(tmp_path / "all"), *where]) == 0
    assert (tmp_path / "all" / "task_scores.svg").is_file()
    assert main(["report", *where]) == 2
    assert main(["report", "--figures", str(tmp_path), "--set", "model", *where]) == 2
    assert main(["report", "--figures", str(tmp_path), "--set", "model=a", "--set", "model=b", *where]) == 2
    # What can be chosen is chosen for files; a report has everything.
    assert main(["report", str(tmp_path / "r.html"), "--set", "model=m", *where]) == 2
    assert main(["report", str(tmp_path / "r.html"), "--only", "task_scores", *where]) == 2
    capsys.readouterr()
    assert main(["report", "--figures", str(tmp_path), "--set", "modle=x", *where]) == 1
    assert "has a choice `modle`" in capsys.readouterr().err
    assert main(["report", "--figures", str(tmp_path), "--only", "nothing", *where]) == 1
    assert "There is no figure `nothing`" in capsys.readouterr().err
