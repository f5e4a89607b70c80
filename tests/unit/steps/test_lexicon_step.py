"""The step `lexicon`: from files and from parallel text of either kind, fresh or not, and what is wrong with a study."""

from __future__ import annotations

import polars as pl
import pytest
from pydantic import ValidationError

from xlwh.errors import CorpusError, MissingDataError, StudyError
from xlwh.steps.base import Key
from xlwh.steps.concepts import lexicon
from xlwh.steps.plan import STEPS, upstream
from xlwh.steps.runner import run
from xlwh.store import Slot

ALIGNED = {"x": {"datasets": ["nli"], "pairs": [["en", "de"], ["de", "en"]]}}


def stored(context, **where):
    return context.warehouse.scan("lexicon", **where).collect()


def test_examples_with_the_same_id_are_sentence_pairs(world):
    context = world.context(lexica=ALIGNED)
    seen = []
    context.progress = lambda what, done, total: seen.append((what, done, total))
    result = run(STEPS["lexicon"], context, Key(language="de"))
    assert result.status == "written"
    assert result.rows == stored(context).height
    assert result.metadata["x en-de"]["sentence_pairs"] == 10
    assert seen[-1] == ("x en-de: passes", 6, 6)
    frame = stored(context, lexicon="x", target_language="de")
    assert frame["source_language"].unique().to_list() == ["en"]
    cat = frame.filter(pl.col("source_word") == "cat").sort("rank")
    assert cat["target_word"][0] == "Katze"
    sums = frame.group_by("source_word").agg(pl.col("probability").sum())
    assert sums["probability"].max() == pytest.approx(1)
    assert frame["provenance"].unique().to_list() == ["alignment of nli"]
    assert run(STEPS["lexicon"], context, Key(language="de")).status == "fresh"
    assert run(STEPS["lexicon"], context, Key(language="es")).status == "not_applicable"
    assert run(STEPS["lexicon"], context, Key(language="en")).status == "written"


def test_settings_and_texts_make_it_stale(world):
    run(STEPS["lexicon"], world.context(lexica=ALIGNED), Key(language="de"))
    other = {"x": {**ALIGNED["x"], "aligner": {"iterations": 2}}}
    context = world.context(lexica=other)
    assert run(STEPS["lexicon"], context, Key(language="de")).status == "written"
    slot = Slot("examples", ("nli", "de"), "dev")
    frame = context.warehouse.scan("examples", dataset="nli", language="de").collect()
    context.warehouse.write({slot: frame.head(3)}, "other")
    assert run(STEPS["lexicon"], context, Key(language="de")).metadata["x en-de"]["sentence_pairs"] == 6


def test_another_segmenter_makes_aligned_words_stale(world, monkeypatch):
    files = [{"source": "en", "target": "de", "path": "en-de.txt"}]
    context = world.context(
        lexica={"x": {"datasets": ["nli"], "pairs": [["en", "de"]]}, "muse": {"files": files}}
    )
    run(STEPS["lexicon"], context, Key(language="de"))
    before = {entry.slot: entry.fingerprint for entry in context.warehouse.entries("lexicon")}
    monkeypatch.setattr(lexicon, "segmenter_name", lambda language: f"another, {language}")
    assert run(STEPS["lexicon"], context, Key(language="de")).status == "written"
    after = {entry.slot: entry.fingerprint for entry in context.warehouse.entries("lexicon")}
    # Words of files are the files' own.
    assert {slot.keys[0] for slot in before if before[slot] != after[slot]} == {"x"}


def test_translations_hold_both_sides(world):
    (world.folder / "text").mkdir()
    lines = [
        ("a house", "ein Haus"),
        ("a dog", "ein Hund"),
        ("the house", "das Haus"),
        ("the dog", "der Hund"),
    ]
    (world.folder / "text" / "train.en-de.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in lines))
    sections = {
        "datasets": {
            "nli": {"reader": "xnli", "path": "nli"},
            "text": {"reader": "parallel", "path": "text", "split": "train", "languages": ["de"]},
        },
        "lexica": {"x": {"datasets": ["text"], "pairs": [["en", "de"], ["de", "en"]]}},
    }
    context = world.context(**sections)
    with pytest.raises(MissingDataError, match="materialize examples --dataset text --language de"):
        run(STEPS["lexicon"], context, Key(language="de"))
    run(STEPS["examples"], context, Key(dataset="text", language="de"))
    run(STEPS["parallelism"], context, Key(dataset="text"))
    for language, source, best in (("de", "house", "Haus"), ("en", "Hund", "dog")):
        assert run(STEPS["lexicon"], context, Key(language=language)).status == "written"
        frame = stored(context, target_language=language).filter(pl.col("source_word") == source)
        assert frame.sort("rank")["target_word"][0] == best
    wrong = world.context(**{**sections, "lexica": {"x": {"datasets": ["text"], "pairs": [["de", "es"]]}}})
    with pytest.raises(StudyError, match="none of text has both `de` and `es`"):
        run(STEPS["lexicon"], wrong, Key(language="es"))


def test_files(world):
    files = [
        {"source": "en", "target": "de", "path": "en-de.txt"},
        {"source": "de", "target": "en", "path": "en-de.txt", "reversed": True},
    ]
    context = world.context(lexica={"muse": {"files": files}})
    assert run(STEPS["lexicon"], context, Key(language="de")).status == "written"
    frame = stored(context, lexicon="muse", target_language="de").filter(pl.col("source_word") == "the")
    assert frame.select("target_word", "rank", "file_rank", "probability", "provenance").rows() == [
        ("der", 1, 1, None, "en-de.txt"),
        ("die", 2, 2, None, "en-de.txt"),
    ]
    run(STEPS["lexicon"], context, Key(language="en"))
    assert stored(context, target_language="en").filter(pl.col("source_word") == "die")[
        "target_word"
    ].to_list() == ["the"]
    assert run(STEPS["lexicon"], context, Key(language="en")).status == "fresh"
    (world.folder / "en-de.txt").write_text("the\tdas\n")
    assert run(STEPS["lexicon"], context, Key(language="de")).rows == 1
    (world.folder / "en-de.txt").unlink()
    with pytest.raises(CorpusError, match=r"lexica\.muse\.files"):
        run(STEPS["lexicon"], context, Key(language="de"))


def test_datasets_are_aligned_together_where_they_have_both_languages(world):
    (world.folder / "text").mkdir()
    (world.folder / "text" / "train.en-de.tsv").write_text("a house\tein Haus\na tree\tein Baum\n")
    sections = {
        "datasets": {
            "nli": {"reader": "xnli", "path": "nli"},
            "text": {"reader": "parallel", "path": "text", "split": "train", "languages": ["de"]},
        },
        "lexica": {"x": {"datasets": ["nli", "text"], "pairs": [["en", "de"], ["en", "es"]]}},
    }
    context = world.context(**sections)
    run(STEPS["examples"], context, Key(dataset="text", language="de"))
    run(STEPS["parallelism"], context, Key(dataset="text"))
    assert run(STEPS["lexicon"], context, Key(language="de")).metadata["x en-de"]["sentence_pairs"] == 12
    assert run(STEPS["lexicon"], context, Key(language="es")).metadata["x en-es"]["sentence_pairs"] == 10
    assert stored(context)["provenance"].unique().sort().to_list() == [
        "alignment of nli",
        "alignment of nli, text",
    ]


def test_nothing_in_common_is_an_error(world):
    context = world.context(lexica=ALIGNED)
    slot = Slot("examples", ("nli", "de"), "dev")
    frame = context.warehouse.scan("examples", dataset="nli", language="de").collect()
    context.warehouse.write({slot: frame.with_columns(example_id="other" + pl.col("example_id"))}, "other")
    with pytest.raises(MissingDataError, match="no example of nli has the same id in `en` and `de`"):
        run(STEPS["lexicon"], context, Key(language="de"))


def test_reads_the_examples_of_its_datasets_alone(world):
    context = world.context(
        datasets={name: {"reader": "xnli", "path": name} for name in ("nli", "other")}, lexica=ALIGNED
    )
    read = {key.dataset for _, key in upstream(context.study, STEPS["lexicon"], Key(language="de"))}
    assert read == {"nli"}
    assert not list(upstream(context.study, STEPS["lexicon"], Key(language="es")))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"x": {"pairs": [["en", "de"]]}}, "either `datasets`"),
        ({"x": {"datasets": ["nli"]}}, "go together"),
        ({"x": {"datasets": ["gone"], "pairs": [["en", "de"]]}}, "no dataset `gone`"),
        ({"x": {"datasets": ["nli"], "pairs": [["en", "fr"]]}}, "no language `fr`"),
        ({"x": {"datasets": ["nli"], "pairs": [["en", "en"]]}}, "same language"),
        ({"x": {"datasets": ["nli"], "pairs": [["en", "de"], ["en", "de"]]}}, "given twice"),
    ],
)
def test_studies_that_cannot_be(world, section, message):
    with pytest.raises(ValidationError, match=message):
        world.context(lexica=section)


def test_alignment_needs_concepts_and_known_lexica(world):
    with pytest.raises(ValidationError, match="no concepts to align"):
        world.context(concept_alignment={})
    with pytest.raises(ValidationError, match="no lexicon `y`"):
        world.context(concepts={"datasets": ["nli"]}, lexica=ALIGNED, concept_alignment={"lexica": ["y"]})
