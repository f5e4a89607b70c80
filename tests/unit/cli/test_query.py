"""sql, tables and describe."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest

from xlwh.cli.query import column_types
from xlwh.store.views import load_views
from xlwh.tables import TABLES

pytestmark = pytest.mark.usefixtures("filled")

QUERY = "select language, text, text_pair, words from examples order by language"


def test_a_table_for_people(xlwh):
    code, out, _ = xlwh(
        "sql",
        "select 1234567 as big, 0.12345678::double as share, null as nothing, true as yes, '[b]' as text",
    )
    assert code == 0
    header, _, row = out.strip().splitlines()
    assert header.split() == ["big", "share", "nothing", "yes", "text"]
    assert row.split() == ["1,234,567", "0.1235", "yes", "[b]"]


def test_json_is_valid_and_complete(xlwh):
    code, out, _ = xlwh("sql", "--json", QUERY)
    assert code == 0
    assert json.loads(out) == [
        {"language": "de", "text": 'Er sagt: "ja", [bold]\nund geht', "text_pair": None, "words": ["a", "b"]},
        {"language": "en", "text": "=1+1", "text_pair": None, "words": ["a", "b"]},
    ]
    assert xlwh("sql", "--json", "select 1 where false")[1] == "[\n]\n"


def test_json_of_every_type(xlwh):
    values = (
        "1::hugeint as a, 1.5::decimal(9, 2) as b, 'nan'::double as c, 'inf'::float as d, date '2026-01-02' as e, "
        "timestamp '2026-01-02 03:04:05' as f, {'x': [1, null]} as g, 'ab'::blob as h, interval 1 day as i, "
        "map {'k': 1} as j, '3e0a3a3e-9f52-4f3b-8a8e-0d0f4b8d1f11'::uuid as k"
    )
    [row] = json.loads(xlwh("sql", "--json", f"select {values}")[1])
    assert (row["a"], row["b"], row["c"], row["d"]) == (1, 1.5, None, None)
    assert (row["e"], row["f"], row["g"]) == ("2026-01-02", "2026-01-02T03:04:05", {"x": [1, None]})
    assert row["j"] == {"k": 1}
    assert row["k"].startswith("3e0a3a3e")


def test_csv_is_what_is_stored_unless_it_should_be_safe(xlwh):
    _, out, _ = xlwh("sql", "--csv", QUERY)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["text"] for row in rows] == ['Er sagt: "ja", [bold]\nund geht', "=1+1"]
    assert rows[0]["words"] == '["a", "b"]'
    _, out, _ = xlwh("sql", "--csv-safe", QUERY)
    assert [row["text"] for row in csv.DictReader(io.StringIO(out))][1] == "'=1+1"
    # Numbers are no formulas.
    assert xlwh("sql", "--csv-safe", "select -1 as a, '-1' as b")[1] == "a,b\n-1,'-1\n"


def test_parquet(xlwh, tmp_path):
    code, out, errors = xlwh("sql", QUERY, "--parquet", tmp_path / "out.parquet")
    assert (code, out) == (0, "")
    assert "2 rows" in errors
    assert pl.read_parquet(tmp_path / "out.parquet")["words"].to_list() == [["a", "b"], ["a", "b"]]


def test_the_query_may_come_from_a_file_or_standard_input(xlwh, tmp_path, monkeypatch):
    (tmp_path / "q.sql").write_text("select 7 as seven;")
    expected = '[\n{"seven": 7}\n]\n'
    assert xlwh("sql", "--json", "--file", tmp_path / "q.sql")[1] == expected
    for arguments in (("-",), ("--file", "-")):
        monkeypatch.setattr("sys.stdin", io.StringIO("select 7 as seven"))
        assert xlwh("sql", "--json", *arguments)[1] == expected
    code, _, errors = xlwh("sql", "--file", tmp_path / "none.sql")
    assert code == 1
    assert "none.sql" in errors


def test_long_results_are_cut_and_say_so(xlwh):
    _, out, errors = xlwh("sql", "select * from range(300)")
    assert len(out.split()) < 110
    assert "only the first 100 rows" in errors
    _, out, errors = xlwh("sql", "select * from range(300)", "--limit", "0")
    assert "299" in out
    assert errors == ""


@pytest.mark.parametrize(
    "query",
    [
        "drop view examples",
        "copy examples to '/tmp/x.csv'",
        "attach '/tmp/x.db'",
        "select 1; select 2",
        "select * from read_csv('/etc/passwd')",
        "selekt 1",
        "select nothing from examples",
    ],
)
def test_what_is_refused_is_refused_politely(xlwh, query):
    code, out, errors = xlwh("sql", query)
    assert (code, out) == (1, "")
    assert errors.startswith("Error: ")
    assert "Traceback" not in errors


def test_two_outputs_are_one_too_many(xlwh):
    assert xlwh("sql", "select 1", "--json", "--csv")[0] == 2


def test_tables(xlwh):
    code, out, _ = xlwh("tables", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert set(rows) == {*TABLES, *(view.name for view in load_views())}
    examples = rows["examples"]
    assert (examples["kind"], examples["rows"], examples["partitions"]) == ("table", 2, 2)
    assert examples["size_bytes"] > 0
    assert examples["last_written"]
    assert rows["tokens"]["rows"] == 0
    assert (rows["ccta"]["kind"], rows["ccta"]["rows"]) == ("view", None)
    _, out, _ = xlwh("tables")
    assert "examples" in out
    assert "kB" in out


def test_tables_counts_views_where_it_is_told_to(xlwh, monkeypatch):
    monkeypatch.setattr("xlwh.store.views.Sources.names", ["tokens", "ccta", "example_texts"])
    rows = {row["name"]: row for row in json.loads(xlwh("tables", "--count", "--json")[1])}
    assert rows["examples"]["rows"] == 2
    assert set(rows) == {*TABLES, "ccta", "example_texts"}
    assert (rows["ccta"]["rows"], rows["example_texts"]["rows"]) == (0, 2)


def test_tables_parses_no_sql(xlwh, filled):
    (filled.root / "sql").mkdir()
    (filled.root / "sql" / "broken.sql").write_text("this is no SQL")
    code, out, _ = xlwh("tables")
    assert code == 0
    assert "broken" in out
    assert xlwh("describe", "ccta")[0] == 0
    code, _, errors = xlwh("describe", "broken")
    assert code == 1
    assert "broken.sql" in errors


def test_describe_has_the_types_that_the_catalogue_has(filled):
    with filled.connect() as connection:
        for name in ("ccta", "tokens", "task_scores", "metric_correlations"):
            there = {row[0]: row[1] for row in connection.execute(f'describe "{name}"').fetchall()}
            assert column_types(name, filled.sources().load_for(name)) == there


@pytest.mark.parametrize("name", [*TABLES, "ccta", "task_scores", "fertility"])
def test_describe_says_what_every_column_is(xlwh, name):
    code, out, _ = xlwh("describe", name)
    assert code == 0
    view = next(view for view in load_views() if view.name == name)
    assert view.description in out
    assert "key: " in out
    for column, description in view.columns.items():
        assert column in out
        assert description in out


def test_describe_says_what_a_column_is_counted_in(xlwh):
    code, out, _ = xlwh("describe", "fertility_difference")
    assert code == 0
    assert "sub-tokens per word" in out
    assert "language_pair_scorecard" in out
    assert "tokenization_intervention" in out
    assert "task_scores" not in out


def test_describe_of_something_unknown(xlwh):
    code, _, errors = xlwh("describe", "ccat")
    assert code == 1
    assert "Did you mean `ccta`?" in errors
