"""Words where they stand: every table that points into a text, and everything that reads such a table back.

One warehouse with every kind of text: pairs with the same words in both segments, emoji before words, pre-tokenised
sentences with multiword tokens, and translations from a language that has no rows of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from made_up import trust_made_up_inputs

from dagster_project.checks import checks_of
from xlwh import connect
from xlwh.concepts import browse
from xlwh.corpora import spans
from xlwh.models.segments import occurrences
from xlwh.report.explorer import concept as concept_page
from xlwh.report.explorer.drill_pages import _sentence
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Entry, Slot, schema
from xlwh.store.occurrences import POINTERS, cut

from .conftest import World

PAIRS = {
    "en": [("the cat sat", "the dog sat"), ("\U0001f600 the  cat", "a cat"), ("sat the", "\U0001f469\u200d\U0001f680cat sat")],
    "de": [("die Katze saß", "die Katze lief"), ("👍 die\u00a0Katze", "die"), ("saß die", "lief, die Katze")],
}  # fmt: skip
SENTENCES = {
    "en": [("I can't, can't I", ["I", "ca", "n't", ",", "ca", "n't", "I"], None)],
    "de": [
        # zum = zu + dem; a later `zu` and `dem` of their own.
        ("zum Haus zu dem Haus", ["zu", "dem", "Haus", "zu", "dem", "Haus"],
         [(0, 3), (0, 3), (4, 8), (9, 11), (12, 15), (16, 20)]),
    ],
}  # fmt: skip
TRANSLATIONS = {
    "de": [("the cat", "die Katze"), ("the cat the", "die Katze die")],
    "es": [("the cat", "el gato"), ("sat", "se sentó")],
}
CONCEPTS = {
    "datasets": ["nli", "pos", "mt"],
    "pool": True,
    "min_count": 1,
    "clusters": 4,
    "layers": [1],
    "mixed": [["en", "de"]],
}


def _write(context: Context, dataset: str, language: str, rows: list[dict[str, Any]]) -> None:
    full = [
        {"dataset": dataset, "split": "dev", "language": language, "source_file": "f", "row_number": number}
        | {"example_id": str(number)}
        | row
        for number, row in enumerate(rows)
    ]
    typed = pl.concat(
        [pl.DataFrame(schema=schema("examples")), pl.DataFrame(full)], how="diagonal_relaxed"
    ).cast(schema("examples"))
    context.warehouse.write({Slot("examples", (dataset, language), "dev"): typed}, "read")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[..., Path]) -> Context:
    world = World(tmp_path_factory.mktemp("occurrences"), checkpoint("roberta"))
    datasets = {
        "nli": {"reader": "xnli", "path": "nli"},
        "pos": {"reader": "conllu", "path": "pos"},
        "mt": {"reader": "parallel", "path": "mt", "languages": ["en", "de", "es"]},
    }
    made = world.context(datasets=datasets, concepts=CONCEPTS)
    for language, pairs in PAIRS.items():
        rows = [
            {"task": "sentence_pair", "text": one, "text_pair": two, "label": "neutral"} for one, two in pairs
        ]
        _write(made, "nli", language, rows)
    for language, sentences in SENTENCES.items():
        rows = []
        for text, words, places in sentences:
            found = places or spans.aligned(text, words)
            assert found is not None
            stated = [{"start": start, "end": end} for start, end in found]
            rows.append({"task": "token_classification", "text": text, "words": words, "word_spans": stated})
        _write(made, "pos", language, rows)
    for language, pairs in TRANSLATIONS.items():
        rows = [{"task": "translation", "text": one, "text_pair": two} for one, two in pairs]
        _write(made, "mt", language, rows)
    with pytest.MonkeyPatch.context() as patch:
        trust_made_up_inputs(patch)
        for language in ("en", "de"):
            run(STEPS["tokens"], made, Key("a", language=language))
            run(STEPS["activations"], made, Key("a", language=language))
        run(STEPS["concepts"], made, Key("a"))
    made.warehouse.build_catalogue()
    return made


@contextmanager
def changed(context: Context, entry: Entry, frame: pl.DataFrame) -> Iterator[None]:
    """Another content of a file, for a while."""
    warehouse = context.warehouse
    before = pl.read_parquet(warehouse.root / entry.file, hive_partitioning=False)
    warehouse.write({entry.slot: frame}, entry.fingerprint)
    warehouse.build_catalogue()
    try:
        yield
    finally:
        warehouse.write({entry.slot: before}, entry.fingerprint)
        warehouse.build_catalogue()


MULTIWORD = {("zu", "zum"), ("dem", "zum")}


def test_stored_places_cut_out_the_word(context: Context) -> None:
    warehouse = context.warehouse
    for table in POINTERS:
        verdict = checks_of(table)["offsets_cut_out_the_word"](warehouse, table)
        assert verdict.faults.is_empty(), verdict.summary
    assert warehouse.check(deep=True) == []
    assert warehouse.scan("activations").filter(segment=1).collect().height > 5
    with closing(connect(warehouse.root)) as database:
        for table in ("activations", "concept_members"):
            found = database.sql(
                "select distinct dataset, word, surface(text, text_pair, segment, char_start, char_end) as written "
                f"from {table} left join example_texts using (dataset, split, language, example_id)"
            ).pl()
            odd = found.filter(pl.col("word") != pl.col("written")).select("word", "written")
            assert found["written"].null_count() == 0
            assert set(odd.rows()) == MULTIWORD
            assert set(found["dataset"]) == {"nli", "pos", "mt"}
        words = database.sql(
            "select distinct word, surface(text, text_pair, segment, word_start, word_end) as written "
            "from tokens join example_texts using (dataset, split, language, example_id) where word is not null"
        ).pl()
        assert words.filter(pl.col("word") != pl.col("written")).is_empty()


def test_the_step_stores_what_the_resolver_says(context: Context) -> None:
    rows = context.warehouse.scan("activations", dataset="nli", language="en").collect()
    examples = context.warehouse.scan("examples", dataset="nli", language="en").collect()
    known = dict(zip(examples["example_id"], occurrences(examples), strict=True))
    for row in rows.iter_rows(named=True):
        place = known[row["example_id"]][row["word_index"]]
        assert place == (row["word"], row["segment"], row["char_start"], row["char_end"])


@pytest.mark.parametrize(
    ("table", "column", "change"),
    [
        ("activations", "char_start", 1),
        ("activations", "char_end", 1),
        ("activations", "segment", None),
        ("concept_members", "char_start", -1),
        ("concept_members", "word", "other"),
        ("tokens", "word_end", -1),
        ("tokens", "char_end", 100),
    ],
)
def test_one_row_that_points_elsewhere_is_found(
    context: Context, table: str, column: str, change: int | str | None
) -> None:
    warehouse = context.warehouse
    for entry in warehouse.entries(table):
        frame = pl.read_parquet(warehouse.root / entry.file, hive_partitioning=False)
        at = frame.with_row_index().filter(pl.col("word").is_in(["cat", "Katze"]), dataset="nli")["index"]
        if len(at):
            break
    old = pl.col(column)
    new = pl.lit(change) if isinstance(change, str) else 1 - old if change is None else old + change
    here = pl.int_range(pl.len()) == at[0]
    broken = frame.with_columns(
        pl.when(here).then(new).otherwise(old).cast(frame.schema[column]).alias(column)
    )
    with changed(context, entry, broken):
        verdict = checks_of(table)["offsets_cut_out_the_word"](warehouse, table)
        assert verdict.faults.height == 1
        assert "1 rows, first" in verdict.faults["fault"][0]
        [finding] = warehouse.check(deep=True)
        assert finding.kind == "wrong_offsets"
        assert "run `xlwh repair`" in finding.message


def test_a_place_of_the_same_word_that_the_source_does_not_state_is_found(context: Context) -> None:
    """`zu` of `zum` moved to the later `zu`: the same letters, the wrong occurrence."""
    warehouse = context.warehouse
    [entry] = [
        e for e in warehouse.entries("activations") if e.slot.keys == ("a", "de") and "pos" in e.slot.part
    ]
    frame = pl.read_parquet(warehouse.root / entry.file, hive_partitioning=False)
    here = pl.col("word_index") == 0
    moved = frame.with_columns(
        char_start=pl.when(here).then(9).otherwise("char_start").cast(pl.Int32),
        char_end=pl.when(here).then(11).otherwise("char_end").cast(pl.Int32),
    )
    with changed(context, entry, moved):
        assert (
            checks_of("activations")["offsets_cut_out_the_word"](warehouse, "activations").faults.height == 1
        )


def test_pages_show_the_stored_rows(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concept_page, "SENTENCES", 1000)
    texts = {
        (row["dataset"], language, row["example_id"]): (row["text"], row["text_pair"])
        for row in context.warehouse.scan("examples").collect().to_dicts()
        for language in (
            row["language"],
            *(["en"] if row["dataset"] == "mt" and row["language"] == "de" else []),
        )
    }
    # Spanish, by name after German, has another text under the same id: it must not be the one that is shown.
    texts |= {
        ("mt", "en", str(number)): (source, None) for number, (source, _) in enumerate(TRANSLATIONS["de"])
    }
    shown = pages = 0
    with closing(connect(context.warehouse.root)) as database:
        for clustering in context.warehouse.scan("clusterings").collect()["clustering"]:
            for number in range(4):
                chosen = browse.choose(context.warehouse, "a", clustering, number)
                if chosen.members.is_empty():
                    continue
                wanted = []
                for row in chosen.members.to_dicts():
                    text = texts[row["dataset"], row["language"], row["example_id"]][row["segment"]]
                    wanted.append((row, cut(text, row["char_start"], row["char_end"])))
                sentences = browse.sentences(context.warehouse, chosen.members, 1000)
                expected = {(row["language"], f"{a}«{b}»{c}") for row, (a, b, c) in wanted}
                assert set(sentences.select("language", "sentence").rows()) <= expected
                counts = chosen.members.group_by("language", "word").len()["len"]
                assert sentences.height == counts.clip(upper_bound=2).sum()
                found = concept_page.load(database, "a", clustering, number)
                examples = chosen.members.select("dataset", "language", "example_id").n_unique()
                assert found.sentences.height == examples
                marks = {(row["language"], a + b + c, b) for row, (a, b, c) in wanted}
                for row in found.sentences.to_dicts():
                    part = cut(row["text"], row["char_start"], row["char_end"])
                    assert (row["language"], row["text"], part.surface) in marks
                    assert f">{part.surface}</mark>" in unescape(str(_sentence(row)))
                    shown += 1
                pages += 1
    assert pages >= 4
    assert shown > 10
