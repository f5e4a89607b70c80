"""The report: one file that holds everything and asks nobody for anything."""

import re
from html.parser import HTMLParser

from xlwh.report.static_report import report, write_report
from xlwh.store import Warehouse


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements(text):
    parser = Elements()
    parser.feed(text)
    return parser.found


def test_it_is_whole_and_loads_nothing(filled, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('name = "<tiny>"\n')
    size = write_report(filled, tmp_path / "deep" / "out.html", study)
    text = (tmp_path / "deep" / "out.html").read_text()
    assert size == len(text.encode()) < 10_000_000
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out.html"]
    found = elements(text)
    assert not [
        a for t, a in found if t in ("link", "img", "iframe", "object") or (t == "script" and "src" in a)
    ]
    # The SVG namespace is a name, not an address; links lead inside the page.
    assert {a["href"][0] for t, a in found if t == "a"} == {"#"}
    assert not re.findall(r"url\(|@import", text)
    policy = next(a["content"] for t, a in found if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert text.count('role="img"') >= 8
    assert "&lt;tiny&gt;" in text
    for name in ("Task scores", "Consistency between languages", "Fingerprints of", "duckdb"):
        assert name in text


def test_an_empty_warehouse_is_reported_too(tmp_path):
    text = report(Warehouse(tmp_path / "empty", create=True))
    assert "xlwh materialize +ccta" in text
    assert "never" in text
