"""The report of a paper: what its tables say of a small warehouse whose numbers are known, in every format."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import paper_rows
import pytest

from xlwh.cli import main
from xlwh.errors import MissingDataError, XlwhError
from xlwh.papers import ALL
from xlwh.published import load as published
from xlwh.report.figures import all_figures
from xlwh.report.papers.contents import REPORTED
from xlwh.report.papers.html import html
from xlwh.report.papers.latex import latex
from xlwh.report.papers.pages import PaperReport, heading, letter, paper_report, places
from xlwh.report.papers.pdf import contents, pdf
from xlwh.report.papers.settings import Difference
from xlwh.store import Warehouse
from xlwh.store.connect import KEPT


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    return paper_rows.build(tmp_path_factory.mktemp("papers") / "warehouse")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(paper_rows.STUDY)
    return path


@pytest.fixture(scope="module")
def reports(warehouse, study) -> dict[str, PaperReport]:
    return {name: paper_report(warehouse, name, study) for name in REPORTED}


def table(report, number):
    return next(each for each in report.tables if each.title.number == number)


def test_every_printed_number_is_in_one_cell_of_a_table(reports):
    printed = published()
    for name, paper in REPORTED.items():
        own = printed.filter(printed["paper"] == paper.published)
        assert {each.number for each in paper.tables} == set(own["table"])
        assert sum(len(each.cells) for each in reports[name].tables) == own.height
    assert {paper.published for paper in REPORTED.values()} == set(printed["paper"])


def test_every_figure_is_one_of_the_figures(reports):
    for report in reports.values():
        assert report.figures
        for each in report.figures:
            own = all_figures()[each.shown.figure]
            filters = {every.column for every in own.filters}
            assert {*each.shown.selection, *each.shown.also} <= filters
            for drawn in each.found.drawn:
                assert {drawn.choice[c] for c in each.shown.selection} == set(each.shown.selection.values())


def test_a_figure_is_drawn_for_every_dataset(reports):
    def drawn(paper, figure, column):
        [found] = [each.found.drawn for each in reports[paper].figures if each.shown.figure == figure]
        return {each.choice[column] for each in found}

    assert drawn("ccta", "ccta_matrix", "dataset") == {"pawsx", "others"}
    assert drawn("faithfulness", "faithfulness_disparity", "mode") == {"hard", "soft"}


def test_numbers_and_marks(reports):
    accuracies = table(reports["ccta"], "4")
    assert accuracies.rows == accuracies.columns[:-1] == ("en", "de", "es", "fr", "ko", "zh")
    cell = accuracies.cells["en", "de"]
    assert (cell.published, cell.measured, round(cell.difference, 3)) == (0.868, 0.5, -0.368)
    assert (accuracies.told(("en", "de"), cell.low), accuracies.told(("en", "de"), cell.high)) == (
        "0.237",
        "0.763",
    )
    assert cell.beyond is True
    assert cell.setting == "en: test · strict"
    # .9 of ten and .799 published: within the interval.
    assert accuracies.cells["en", "zh"].beyond is False
    overall = accuracies.cells["en", "overall"]
    assert (round(overall.measured, 3), overall.beyond, overall.partial) == (0.65, None, "")
    assert (accuracies.measured, accuracies.compared, accuracies.beyond) == (7, 6, 3)
    assert "3 of 6 with the published number beyond the interval." in accuracies.about


def test_percentages_are_shown_as_printed(reports):
    targeted = table(reports["heads"], "2")
    place = ("xnli · shapley", "en")
    cell = targeted.cells[place]
    assert targeted.told(place, cell.published) == "85.1"
    assert targeted.told(place, cell.measured) == "80.0"
    assert targeted.told(place, cell.difference, signed=True) == "−5.1"
    assert [targeted.cells[f"xnli · {row}", "en"].mark for row in ("shapley", "random", "michel")] == [
        "+",
        "−",
        "",
    ]
    heads = ("xnli · heads pruned", "en")
    assert targeted.told(heads, targeted.cells[heads].measured) == "2"
    assert set(targeted.unit.split(", ")) == {"%", "count"}


def test_ratios_of_the_faithfulness_paper(reports):
    hard = table(reports["faithfulness"], "hard")
    cell = hard.cells["sst · en · mBERT", "comprehensiveness_ratio.attention"]
    assert (round(cell.measured, 6), cell.setting) == (2.0, "mbert: test · published_code · signed · zero_id")
    fertility = table(reports["faithfulness"], "fertility")
    assert fertility.cells["sst · en · mBERT", "fertility"].measured == 3.0
    assert fertility.cells["sst · en · bert", "fertility"].measured == 2.0


REASONS = {
    ("ccta", "1", "XLM-Large", "ar"): "no model of the study is published as `XLM-Large`",
    ("ccta", "1", "mBERT", "ar"): "`mBERT` is not evaluated on `xnli`",
    ("ccta", "1", "XLM-R-Base", "ar"): "`XLM-R-Base` is not evaluated in this language of `xnli`",
    ("ccta", "1", "XLM-R-Base", "de"): "not materialized yet; run xlwh materialize +ccta",
    ("ccta", "1", "XLM-R-Base", "overall"): "no language of this row was measured",
    ("ccta", "3", "mBERT · start", "ar"): "the study has no dataset `xquad`",
    ("ccta", "4", "de", "en"): "no `XLM-R-Base` of the study is fine-tuned on `de`",
    ("ccta", "4", "de", "overall"): "no `XLM-R-Base` of the study is fine-tuned on `de`",
    ("heads", "2", "xnli · shapley", "de"): "the study has no section `heads`",
    (
        "faithfulness", "hard", "sst · en · mBERT", "sufficiency_ratio.deeplift",
    ): "the study has no attribution method `deeplift`",
    (
        "concepts", "1", "mT5 de-en zero-shot from fr-en", "iwslt-test11",
    ): "no model of the study is published as `mT5 fr-en fine-tuned`",
}  # fmt: skip


@pytest.mark.parametrize("cell", list(REASONS), ids=lambda cell: " ".join(cell))
def test_why_a_number_is_missing(reports, cell):
    paper, number, *place = cell
    found = table(reports[paper], number).cells[tuple(place)]
    assert (found.measured, found.reason) == (None, REASONS[cell])


def test_a_number_is_there_or_it_is_said_why(reports):
    for report in reports.values():
        for each in report.tables:
            assert [p for p, cell in each.cells.items() if (cell.measured is None) != bool(cell.reason)] == []
            assert sum(map(len, each.reasons.values())) == len(each.cells) - each.measured


def test_the_page_s_question_in_sql_has_the_cells_of_the_tables(warehouse, reports):
    page = (Path(__file__).resolve().parents[3] / "docs" / "papers" / "README.md").read_text(encoding="utf-8")
    [sql] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    with warehouse.connect() as database:
        rows = database.execute(sql).fetchall()
    cells = {
        (each.title.number, *place): cell.measured
        for each in reports["ccta"].tables
        for place, cell in each.cells.items()
        if cell.measured is not None
    }
    assert {row[:3]: row[4] for row in rows} == cells


def test_without_a_study_the_warehouse_alone_tells(warehouse):
    report = paper_report(warehouse, "ccta")
    first = table(report, "1")
    assert first.cells["XLM-Large", "ar"].reason == "no model of this warehouse is published as `XLM-Large`"
    assert first.cells["mBERT", "ar"].reason == "not in this warehouse; run xlwh materialize +ccta"
    assert report.differing.startswith("No study file was given")


def test_summary_counts_the_cells(reports):
    report = reports["ccta"]
    assert report.summary.startswith(
        "21 of 223 printed numbers were measured here. Of 16 with an interval, 13 "
    )


def test_places_of_a_reason(reports):
    grid = table(reports["ccta"], "4")
    cells = list(grid.cells)
    assert places(grid, cells) == "every cell"
    assert places(grid, [c for c in cells if c[0] == "de"]) == "row de"
    assert places(grid, [c for c in cells if c[1] in ("de", "ko")]) == "columns de, ko"
    assert places(grid, [("en", "de")]) == "en / de"
    assert places(grid, [c for c in cells if c[0] == "de"] + [("en", "de")]) == "row de; en / de"


def test_letters_and_heads():
    assert [letter(n) for n in (0, 25, 26, 27, 51, 52, 701, 702)] == [
        "a", "z", "aa", "ab", "az", "ba", "zz", "aaa",
    ]  # fmt: skip
    assert heading("soft_sufficiency_ratio.input_x_gradient") == "soft suff. input x gradient"
    assert heading("unknown_ratio") == "unknown ratio"
    assert heading("iwslt-test11") == "iwslt-test11"


def test_what_is_not_there_is_an_error(tmp_path, warehouse):
    with pytest.raises(XlwhError, match=r"no paper `bert`\. Papers: ccta, faithfulness, concepts, heads"):
        paper_report(warehouse, "bert")
    with pytest.raises(MissingDataError, match="Run: xlwh materialize published_results"):
        paper_report(Warehouse(tmp_path / "empty", create=True), "ccta")


class Cells(HTMLParser):
    """The texts of all table cells by table, and the tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = [dict(attrs).get("class", ""), ""]
            self.tables[-1][-1].append(self._cell)

    def handle_data(self, text):
        if self._cell is not None:
            self._cell[1] += f"{text} "

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None


def test_html_has_the_paper_s_tables_with_both_numbers(reports):
    text = html([reports["ccta"]])
    page = Cells(text)
    grid = page.tables[3]
    assert [cell[1].strip() for cell in grid[0]] == ["", "en", "de", "es", "fr", "ko", "zh", "overall"]
    english, german = grid[1], grid[2]
    assert [re.sub(r"\s+", " ", cell[1]).strip() for cell in english] == [
        "en",
        "0.944 0.400 * −0.544",
        "0.868 0.500 * −0.368",
        "0.887 0.600 * −0.287",
        "0.882 0.700 −0.182",
        "0.732 0.800 +0.068",
        "0.799 0.900 +0.101",
        "0.852 0.650 −0.202",
    ]
    assert ["beyond" in cell[0] for cell in english[1:]] == [True, True, True, False, False, False, False]
    assert [cell[1].split() for cell in german[1:3]] == [["0.936", "(a)"], ["0.878", "(a)"]]
    assert "no `XLM-R-Base` of the study is fine-tuned on `de`" in text


def test_html_is_whole_and_loads_nothing(reports):
    for report in reports.values():
        text = html([report])
        page = Cells(text)
        assert not [
            t for t, a in page.tags if t in ("link", "img", "iframe") or (t == "script" and "src" in a)
        ]
        assert {a["href"][0] for t, a in page.tags if t == "a"} == {"#"}
        ids = {a["id"] for _, a in page.tags if "id" in a}
        assert {a["href"][1:] for t, a in page.tags if t == "a"} <= ids
        for each in report.figures:
            assert each.shown.title in text or each.shown.title.replace("'", "&#x27;") in text


def test_a_figure_that_cannot_be_drawn_says_what_to_run(reports):
    text = html([reports["heads"]])
    assert "The view head_shapley has no rows yet." in text
    assert "xlwh materialize +head_shapley" in text


def test_pdf_holds_the_same_numbers(reports, tmp_path):
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf([reports["ccta"]]))
    assert path.read_bytes().startswith(b"%PDF-")
    if shutil.which("pdftotext") is None:
        pytest.skip("needs pdftotext (poppler-utils)")
    text = subprocess.run(
        ["pdftotext", "-layout", path, "-"], capture_output=True, text=True, check=True
    ).stdout
    assert reports["ccta"].paper.title[:60] in re.sub(r"\s+", " ", text)
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    at = next(
        n
        for n, line in enumerate(lines)
        if line == ["0.400*", "0.500*", "0.600*", "0.700", "0.800", "0.900", "0.650"]
    )
    assert lines[at - 1][-7:] == ["0.944", "0.868", "0.887", "0.882", "0.732", "0.799", "0.852"]
    assert lines[at + 1] == ["−0.544", "−0.368", "−0.287", "−0.182", "+0.068", "+0.101", "−0.202"]


def test_latex_has_a_file_for_each_table_and_figure(reports, tmp_path):
    files = latex([reports["ccta"]], tmp_path / "paper")
    names = [path.name for path in files]
    assert names[0] == "report.tex"
    assert {f"table-{n}.tex" for n in range(1, 6)} <= set(names)
    assert {path.name for path in (tmp_path / "paper").iterdir()} == set(names)
    for path in files:
        if path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF-")
    made = (tmp_path / "paper" / "table-4.tex").read_text().splitlines()
    assert r"en & published & 0.944 & 0.868 & 0.887 & 0.882 & 0.732 & 0.799 & 0.852 \\*" in made
    marked = [rf"\textbf{{{value}}}\rlap{{*}}" for value in ("0.400", "0.500", "0.600")]
    assert rf" & measured & {' & '.join(marked)} & 0.700 & 0.800 & 0.900 & 0.650 \\*" in made
    assert r"de & published & 0.936 & 0.878 & 0.888 & 0.893 & 0.758 & 0.808 & 0.860 \\*" in made
    assert rf" & measured & {' & '.join(['(a)'] * 7)} \\" in made
    columns = re.search(r"begin\{longtable\}\{@\{\}(\w+)@", "\n".join(made))[1]
    for line in made:
        if line.endswith(("\\\\", "\\\\*")):
            assert line.count(" & ") == len(columns) - 1 == 8, line


def test_one_report_of_all_papers_has_what_each_has(reports):
    page = Cells(html(list(reports.values())))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in page.tags if t == "a"} <= set(ids)
    heads = [int(t[1]) for t, _ in page.tags if t in ("h1", "h2", "h3", "h4", "h5")]
    assert heads.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(heads))
    told = [[[cell[1] for cell in row] for row in table] for table in page.tables]
    for report in reports.values():
        own = Cells(html([report])).tables[: len(report.tables)]
        for each in ([[cell[1] for cell in row] for row in table] for table in own):
            assert each in told


def test_all_papers_in_every_format(reports, tmp_path):
    every = list(reports.values())
    path = tmp_path / "all.pdf"
    path.write_bytes(pdf(every))
    files = latex(every, tmp_path / "tex")
    assert {file.name for file in (tmp_path / "tex").iterdir()} == {file.name for file in files}
    assert len({file.name for file in files}) == len(files)
    document = files[0].read_text()
    for name, report in reports.items():
        for each in report.tables:
            assert rf"\input{{{name}-table-{each.title.number}}}" in document
            alone = latex([report], tmp_path / name)
            [own] = [file for file in alone if file.name == f"table-{each.title.number}.tex"]
            assert (tmp_path / "tex" / f"{name}-{own.name}").read_text() == own.read_text()
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
        flat = re.sub(r"\s+", " ", text)
        for report in every:
            assert report.paper.title[:60] in flat
            assert report.summary in flat


@pytest.mark.parametrize("name", [*REPORTED, ALL])
def test_latex_compiles(reports, tmp_path, name):
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex with booktabs (texlive-latex-recommended)")
    latex(list(reports.values()) if name == ALL else [reports[name]], tmp_path)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "undefined" not in done.stdout


def test_hostile_texts_reach_no_format_as_code(reports, tmp_path):
    """Keys of studies and names of datasets are anybody's: here all texts of a report are hostile."""
    report = reports["ccta"]
    hostile = '<script>alert(1)</script> \\input{/etc/passwd} #read("data.json") \u202e 猫 & $x_1$'
    bad = replace(
        report,
        study=hostile,
        differences=(Difference(hostile, hostile, hostile),),
        tables=tuple(
            replace(
                each,
                cells={
                    place: replace(
                        cell, reason=hostile if cell.reason else "", setting=hostile if cell.setting else ""
                    )
                    for place, cell in each.cells.items()
                },
            )
            for each in report.tables
        ),
    )
    text = html([bad])
    assert "<script>alert" not in text
    assert pdf([bad]).startswith(b"%PDF-")
    content = json.dumps(contents([bad], tmp_path), ensure_ascii=False)
    assert "\u202e" not in content
    latex([bad], tmp_path)
    document = (tmp_path / "report.tex").read_text()
    assert r"\input{/etc" not in document
    assert r"\textbackslash{}input\{/etc/" in document.replace(r"\allowbreak{}", "")
    assert "猫" not in document
    if shutil.which("pdflatex"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_the_command_writes_what_is_asked_for(warehouse, study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(study, tmp_path / "study.toml")
    root = str(warehouse.root)

    def run(*arguments):
        code = main(["report", *arguments, "--warehouse", root])
        out = capsys.readouterr()
        return code, out.out, out.err

    code, out, _ = run("--paper", "ccta")
    assert code == 0
    assert out.startswith("Wrote ccta.html, ")
    assert (warehouse.root / KEPT / "published_vs_measured").is_dir()
    assert "21 of 223 printed numbers were measured here." in out
    assert "no `XLM-R-Base` of the study is fine-tuned" in (tmp_path / "ccta.html").read_text()
    code, out, _ = run("--paper", "heads", "--pdf", "a/heads.pdf", "--latex", "tex")
    assert code == 0
    assert (tmp_path / "a" / "heads.pdf").is_file()
    assert (tmp_path / "tex" / "report.tex").is_file()
    assert not (tmp_path / "heads.html").exists()
    code, out, _ = run("--paper", "all", "--html", "b/every.html", "--pdf", "b/every.pdf", "--latex", "every")
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()[-4:]] == list(REPORTED)
    assert (tmp_path / "b" / "every.pdf").read_bytes().startswith(b"%PDF-")
    assert (tmp_path / "every" / "heads-table-2.tex").is_file()
    page = (tmp_path / "b" / "every.html").read_text()
    assert all(f'id="{name}-table-0"' in page for name in REPORTED)
    assert run("--paper", "all")[1].startswith("Wrote all.html, ")
    code, _, err = run("--paper", "bert")
    assert (code, err.strip()) == (
        1,
        "Error: There is no paper `bert`. Papers: ccta, faithfulness, concepts, heads; all: all of them.",
    )
    assert run("--pdf", "x.pdf")[0] == 2
    assert run("x.html", "--paper", "ccta", "--html", "y.html")[0] == 2
    assert run("--paper", "ccta", "--figures", "f")[0] == 2


def test_what_the_report_needs_beside_a_view_is_made(tmp_path, monkeypatch, capsys):
    """After `xlwh materialize +VIEW`, which the reasons name, the printed numbers are not there yet."""
    monkeypatch.chdir(tmp_path)
    Warehouse(tmp_path / "warehouse", create=True).build_catalogue()
    for paper in (*REPORTED, ALL):
        assert main(["report", "--paper", paper]) == 1
        assert "no published numbers yet. Run: xlwh materialize published_results" in capsys.readouterr().err
    # Its reader is made up, since nothing of it is read elsewhere.
    (tmp_path / "study.toml").write_text(paper_rows.STUDY.replace('"tsv"', '"xnli"'))
    assert main(["report", "--paper", "faithfulness"]) == 0
    out, err = capsys.readouterr()
    assert "0 of 1,020 printed numbers were measured here." in out
    assert "published_results is made" in err
    assert main(["report", "--paper", ALL]) == 0
    assert "published_results is made" not in capsys.readouterr().err
