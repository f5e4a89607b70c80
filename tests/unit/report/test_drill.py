"""Pages of one concept and of one head, over a warehouse made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
import pytest
from starlette.testclient import TestClient

from xlwh.report.explorer import drill_pages
from xlwh.report.explorer.app import create_app
from xlwh.report.explorer.state import Explorer
from xlwh.store import Slot, Warehouse, schema
from xlwh.tables import TABLES

SHARED = {"model": "m", "dataset": "d", "split": "dev", "corpus": "d", "stack": "encoder", "aggregation": "last",
          "algorithm": "faiss", "task": "sequence_classification", "scope": "mixed:ar+en", "clustering": "c",
          "layer": 1, "languages": ["ar", "en"]}  # fmt: skip


def _frame(table, rows):
    filled = []
    for row in rows:
        full = {}
        for name, column in TABLES[table].columns().items():
            given = {**SHARED, **row}
            if name in given:
                full[name] = given[name]
            elif column.nullable:
                full[name] = None
            elif column.dtype == pl.Boolean:
                full[name] = False
            elif column.dtype.is_numeric():
                full[name] = column.min or 0
            else:
                full[name] = [] if isinstance(column.dtype, pl.List) else "x"
        filled.append(full)
    return pl.DataFrame(filled, schema=schema(table))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    warehouse = Warehouse(tmp_path_factory.mktemp("drill") / "w", create=True)
    # The English word stands in both texts, at the same place; the second one is meant.
    texts = {"en": ("One <b>war</b> ago", "The <b>war</b> was long"), "ar": ("كانت الحرب طويلة", None)}
    marks = {"en": ("<b>war</b>", 1, 4, 14), "ar": ("الحرب", 0, 5, 10)}
    members = [
        {"language": language, "example_id": "1", "word_index": 1, "concept": 3}
        | dict(zip(("word", "segment", "char_start", "char_end"), marks[language], strict=True))
        for language in texts
    ]
    warehouse.write({Slot("clusterings", ("m",), "d"): _frame("clusterings", [{"num_clusters": 5}])}, "f")
    warehouse.write(
        {
            Slot("concepts", ("m",), "d"): _frame(
                "concepts", [{"concept": 3, "num_tokens": 2, "num_types": 2, "centroid": [0.0]}]
            )
        },
        "f",
    )
    warehouse.write({Slot("concept_members", ("m",), "d"): _frame("concept_members", members)}, "f")
    for member in members:
        language = member["language"]
        here = {**member, "vector": [0.5], "num_tokens": 1}
        text, pair = texts[language]
        example = {"language": language, "example_id": "1", "text": text, "text_pair": pair}
        warehouse.write({Slot("examples", ("d", language), "dev"): _frame("examples", [example])}, "f")
        warehouse.write({Slot("activations", ("m", language), "d"): _frame("activations", [here])}, "f")
    for language, worth in (("ar", 0.2), ("en", -0.3)):
        heads = [
            {"language": language, "sampler": "s", "estimator": "permutation", "unit": "head", "layer": 0,
             "head": head, "permutation": n, "example_id": "1", "marginal": worth}
            for head in (0, 1) for n in (0, 1)
        ]  # fmt: skip
        value = {
            "language": language,
            "method": "gradient",
            "unit": "head",
            "layer": 0,
            "head": 1,
            "value": 7.5,
        }
        attention = [
            {"language": language, "example_id": "1", "layer": 0, "head": head, "tokens": [marks[language][0], "[SEP]"],
             "is_special": [False, True], "weights": weights}
            for head, weights in ((0, [1.0, 0.0, 1.0, 0.0]), (1, [0.25, 0.75, 0.0, 1.0]))
        ]  # fmt: skip
        frames = {
            Slot("head_samples", ("m", language), "d"): _frame("head_samples", heads),
            Slot("head_importance", ("m", language), "d"): _frame("head_importance", [value]),
            Slot("attention_maps", ("m", language), "d"): _frame("attention_maps", attention),
        }
        warehouse.write(frames, "f")
    warehouse.build_catalogue()
    explorer = Explorer(warehouse.root)
    with TestClient(
        create_app(explorer, ["127.0.0.1:1"], warm=False), base_url="http://127.0.0.1:1"
    ) as running:
        yield running


def test_concepts_are_listed_and_found(client):
    text = client.get("/concepts").text
    assert "/concept?model=m&amp;clustering=c&amp;concept=3" in text
    assert "ar en" in text
    assert "1 to 1 of 1" in client.get("/concepts?text=%3CB").text
    assert "Concepts: none" in client.get("/concepts?text=nothing").text


def test_one_concept_shows_its_words_and_sentences(client):
    text = client.get("/concept?model=m&clustering=c&concept=3").text
    assert '<bdi dir="auto">الحرب</bdi>' in text
    # The word's own markup is text.
    assert "One " not in text
    assert "The <mark>&lt;b&gt;war&lt;/b&gt;</mark> was long" in text
    assert "كانت <mark>الحرب</mark> طويلة" in text
    assert "no concept of another language" in client.get("/evidence?model=m&clustering=c&concept=3").text


@pytest.mark.parametrize("query", ["", "?model=m&clustering=c&concept=99", "?model=m&clustering=c&concept=x"])
def test_a_concept_that_is_not_there(client, query):
    assert client.get(f"/concept{query}").status_code == 404


def test_one_head(client):
    text = client.get("/head?layer=0&head=1&language=en").text
    assert "Layer 0, head 1" in text
    assert "\u22120.3000" in text
    assert "By other measures" in text
    assert "7.5000" in text
    # Its attention, in both languages; what the other head attends to is not there.
    assert "What it attends to" in text
    assert text.count("&lt;b&gt;war&lt;/b&gt; → [SEP]") == 1
    assert "الحرب → [SEP]" in text
    assert "0.75" in text
    other = client.get("/head?layer=0&head=0&language=en", headers={"x-wanted": "fragment"}).text
    assert "→ [SEP]" not in other
    assert "[SEP] → الحرب" in other


def test_a_head_without_pictures_says_how_to_make_them():
    rows = [{**SHARED, "language": "en", "sampler": "s", "unit": "head", "layer": 0, "head": 0, "variant": "strict",
             "n": 10, "value": 0.1, "value_low": 0.0, "value_high": 0.2, "sd": 0.1, "value_rank": 1, "value_even": 0.1,
             "value_odd": 0.1}]  # fmt: skip
    frames = {"head_shapley": pl.DataFrame(rows, strict=False)}
    shown = SimpleNamespace(views=SimpleNamespace(frame=frames.get), columns={})
    assert "xlwh catalogue" in drill_pages.head(shown, {})
    assert "xlwh catalogue" in drill_pages.head(SimpleNamespace(views=SimpleNamespace(frame={}.get)), {})
