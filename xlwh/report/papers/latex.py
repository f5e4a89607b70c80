"""The reports of one paper or several as a LaTeX document: a file for each table, a PDF for each figure, and one that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xlwh.report.papers.pages import PaperReport
from xlwh.report.papers.pdf import contents
from xlwh.report.tables import latex_text
from xlwh.store.files import write_whole

DOCUMENT = "report.tex"
"""The file to compile."""

_PREAMBLE = r"""% Compiles with pdflatex, xelatex and lualatex, twice for the widths of long tables.
\documentclass[10pt,a4paper]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[T1]{fontenc}
  \usepackage[utf8]{inputenc}
\fi
\usepackage[landscape,margin=15mm]{geometry}
\usepackage{array,booktabs,longtable,graphicx,textcomp}
\setlength{\tabcolsep}{3pt}
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
% A character that the fonts of pdflatex lack is named; the other engines print it.
\ifPDFTeX
  \newcommand{\xlwhchar}[1]{\texttt{U+#1}}
\else
  \newcommand{\xlwhchar}[1]{\symbol{"#1}}
\fi
\begin{document}
"""


def latex(reports: Sequence[PaperReport], folder: Path) -> list[Path]:
    """Write the document to a folder, which is made; returns its files. It needs `pip install 'xlwh[export]'`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = contents(reports, folder)
    written: list[Path] = []
    body: list[str] = []
    for number, report in enumerate(content["reports"]):
        body += [r"\clearpage"] * bool(number) + _report(report, folder, written)
    body += [r"\section*{What it was made from}", _text(content["versions"]) + r"\par", r"\end{document}", ""]
    document = folder / DOCUMENT
    write_whole(document, (_PREAMBLE + "\n".join(body)).encode("utf-8"))
    return [document, *written]


def _report(report: dict[str, Any], folder: Path, written: list[Path]) -> list[str]:
    """Lines of one paper; its tables are written to files of their own."""
    written += [folder / each["path"] for figure in report["figures"] for each in figure["pictures"]]
    body = [
        rf"\section*{{{_text(report['title'])}}}",
        *(_text(report[name]) + r"\par" for name in ("about", "summary", "how")),
        r"\section*{Tables}",
    ]
    for table in report["tables"]:
        path = folder / f"{table['file']}.tex"
        write_whole(path, _table(table).encode("utf-8"))
        written.append(path)
        body += [rf"\subsection*{{{_text(table['name'])}}}", _text(table["about"]) + r"\par"]
        body += [
            rf"\input{{{path.stem}}}",
            *(rf"{{\footnotesize {_text(line)}\par}}" for line in table["lines"]),
        ]
    body.append(r"\section*{Figures}")
    for figure in report["figures"]:
        body += [rf"\subsection*{{{_text(figure['title'])}}}", _text(figure["axes"]) + r"\par"]
        for each in figure["pictures"]:
            size = f"width={each['width']}bp,height={each['height']}bp,keepaspectratio"
            body.append(rf"\includegraphics[{size}]{{{each['path']}}}\par")
            body.append(rf"{{\footnotesize {_text(each['note'])}\par}}")
        body += [rf"{{\footnotesize {_text(line)}\par}}" for line in figure["lines"]]
    body += [r"\section*{Settings that differ}", _text(report["differing"]) + r"\par"]
    if report["differences"]:
        body.append(_settings(report["differences"]))
    return body


def _table(table: dict[str, Any]) -> str:
    """A longtable with booktabs rules: of each row of the paper a line published, measured and of differences."""
    columns = table["columns"]
    turned = any(len(name) > 10 for name in columns)
    names = [rf"\rotatebox{{70}}{{{_text(name)}}}" if turned else _text(name) for name in columns]
    head = " & ".join(["", "", *names]) + r" \\"
    lines = [
        "% Needs the packages booktabs, longtable and graphicx.",
        r"\begingroup\scriptsize" if len(columns) > 9 else r"\begingroup\small",
        rf"\begin{{longtable}}{{@{{}}ll{'r' * len(columns)}@{{}}}}",
        r"\toprule",
        head,
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
    ]
    for number, row in enumerate(table["rows"]):
        if number:
            lines.append(r"\addlinespace")
        cells = row["cells"]
        lines.append(_line(row["name"], "published", [_published(cell) for cell in cells], together=True))
        differences = [_text(cell["difference"]) if cell else "" for cell in cells]
        lines.append(_line("", "measured", [_measured(cell) for cell in cells], together=any(differences)))
        if any(differences):
            lines.append(_line("", "difference", differences))
    return "\n".join([*lines, r"\end{longtable}", r"\endgroup", ""])


def _line(name: str, kind: str, cells: list[str], *, together: bool = False) -> str:
    # With a star no page ends here.
    return " & ".join([_text(name), kind, *cells]) + (r" \\*" if together else r" \\")


def _published(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    mark = rf"\rlap{{\textsuperscript{{{_text(cell['mark'])}}}}}" if cell["mark"] else ""
    return _text(cell["published"]) + mark


def _measured(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    if cell["why"]:
        return f"({cell['why']})"
    text = _text(cell["measured"])
    return rf"\textbf{{{text}}}\rlap{{*}}" if cell["beyond"] else text


def _settings(rows: list[list[str]]) -> str:
    width = r"p{0.32\linewidth}"
    head = " & ".join(("setting", "the paper's study", "this study")) + r" \\"
    lines = [
        r"\begingroup\footnotesize",
        rf"\begin{{longtable}}{{@{{}}{width * 3}@{{}}}}",
        r"\toprule",
        head,
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
    ]
    lines += [
        " & ".join(rf"\raggedright {_broken(each)}" for each in row) + r" \tabularnewline" for row in rows
    ]
    return "\n".join([*lines, r"\end{longtable}", r"\endgroup"])


def _broken(text: str) -> str:
    """A long key or path may be broken behind its dots, dashes and underscores."""
    return (
        _text(text)
        .replace(".", r".\allowbreak{}")
        .replace("/", r"/\allowbreak{}")
        .replace(r"\_", r"\_\allowbreak{}")
    )


def _text(text: str) -> str:
    """A text for TeX; what is beyond Latin letters goes by its number, so that every engine compiles it."""
    return "".join(
        character if ord(character) < 0x180 or character in "–…" else rf"\xlwhchar{{{ord(character):04X}}}"
        for character in latex_text(text)
    )
