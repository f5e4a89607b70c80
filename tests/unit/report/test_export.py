"""Files for a paper."""

import sys
import xml.etree.ElementTree as ET

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
    capsys.readouterr()
    assert main(["report", "--figures", str(tmp_path), "--only", "nothing", *where]) == 1
    assert "There is no figure `nothing`" in capsys.readouterr().err
