"""Tables for pages, papers and spreadsheets."""

from datetime import datetime

import polars as pl

from xlwh.report.tables import html_table, latex, markdown, safe_csv, told

FRAME = pl.DataFrame(
    {"word": ["=1+1", "a|b_%<", None], "score": [0.5, -0.25, None], "n": [1, 20_000, 3], "l": [[1], [], None]}
)


def test_values_as_people_read_them():
    assert told(-0.5) == "\u22120.5000"
    assert told(1e-9) == "1e\u221209"
    assert told(1234567) == "1,234,567"
    assert told(True) == "yes"
    assert told(None) == ""
    assert told(datetime(2026, 1, 2, 3, 4, 5)) == "2026-01-02 03:04:05"
    assert told(["a"]) == '["a"]'


def test_csv_runs_no_formula():
    lines = safe_csv(FRAME).splitlines()
    assert lines[0] == "word,score,n,l"
    assert lines[1] == "'=1+1,0.5,1,[1]"
    assert lines[2].startswith("a|b_%<,-0.25,")
    assert safe_csv(pl.DataFrame({"@x": ["+a", "-b", "\tc"]})).splitlines() == ["'@x", "'+a", "'-b", "'\tc"]


def test_markdown_cells_cannot_break_out():
    assert markdown(FRAME).splitlines()[:4] == [
        "| word | score | n | l |",
        "| --- | ---: | ---: | --- |",
        "| =1+1 | 0.5000 | 1 | [1] |",
        "| a\\|b_%&lt; | \u22120.2500 | 20,000 | [] |",
    ]


def test_latex_is_escaped():
    made = latex(FRAME)
    assert made.startswith("\\begin{tabular}{lrrl}\n\\toprule\n")
    assert "a|b\\_\\%\\textless{} & $-$0.2500 & 20,000" in made
    assert made.endswith("\\bottomrule\n\\end{tabular}\n")


def test_html_shows_the_first_rows_and_says_so():
    made = html_table(FRAME, limit=2, caption="Some & more", describe=lambda c: "unit" if c == "n" else "")
    assert made.count("<tr>") == 3
    assert "The first 2 of 3 rows." in made
    assert '<th scope="col" class="num" title="unit">n</th>' in made
    assert "Some &amp; more" in made
