"""The step word_vectors: spaces of files and of input embeddings, freshness, and what it refuses."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from xlwh.errors import CorpusError, MissingDataError
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS
from xlwh.steps.runner import run
from xlwh.store import Slot

EN, DE, ES = (Key("a", language=language) for language in ("en", "de", "es"))
FILES = {"kind": "vec", "files": {"en": "en.vec", "de": "de.vec"}, "min_coverage": 0.05}


@pytest.fixture
def vec_files(tmp_path):
    (tmp_path / "en.vec").write_text("3 2\nthe 1 0\ncat 0 1\nunasked 1 1\n")
    (tmp_path / "de.vec").write_text("die 1 0\nkatze 0 1\n")
    return tmp_path


def _vectors(context, space, language):
    frame = context.warehouse.scan("word_vectors", space=space, language=language).collect()
    return {row["word"]: np.array(row["vector"]) for row in frame.to_dicts()}, frame


def test_pivot_words_are_centred_means_of_their_sub_tokens(world):
    context = world.upstream(world.context(), "a", vectors=False)
    result = run(STEPS["word_vectors"], context, EN)
    assert result.status == "written"
    found, frame = _vectors(context, "a.space", "en")
    assert frame["alignment"].unique().to_list() == ["pivot"]
    seen = context.warehouse.scan("tokens", model="a", language="en").collect()
    words = set(seen["word"].drop_nulls())
    assert set(found) <= words
    assert result.metadata["asked"] == len(words)
    assert result.metadata["found"] == len(found) == result.rows

    loaded = context.zoo.load("a")
    embedding = loaded.model.get_input_embeddings().weight.detach().double().numpy()

    def raw(word):
        ids = loaded.tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        blank = loaded.tokenizer.convert_tokens_to_ids("Ġ")
        mean = embedding[[i for i in ids if i != blank]].mean(axis=0)
        return mean / np.linalg.norm(mean)

    pivot_words = list(dict.fromkeys(["the", "cat", "dog", "cold", "child", "apple", "book", "he", "is"]))
    centre = np.mean([raw(word) for word in pivot_words], axis=0)
    for word in ("cat", "mat", "sleeps"):
        np.testing.assert_allclose(found[word], raw(word) - centre, atol=1e-5)


def test_a_language_with_a_dictionary_is_rotated_and_one_without_is_not(world):
    context = world.upstream(world.context(), "a", vectors=False)
    german, spanish = run(STEPS["word_vectors"], context, DE), run(STEPS["word_vectors"], context, ES)
    assert (german.metadata["alignment"], spanish.metadata["alignment"]) == ("procrustes", "none")
    assert german.metadata["dictionary_pairs"] == 10
    assert german.metadata["dictionary_used"] == 10
    assert {"dictionary_precision_before", "dictionary_precision_after"} <= set(german.metadata)
    assert not any(name.startswith("dictionary_") for name in spanish.metadata)
    assert _vectors(context, "a.space", "de")[1]["alignment"].unique().to_list() == ["procrustes"]


def test_fresh_until_something_it_depends_on_changes(world):
    context = world.upstream(world.context(), "a")
    assert [run(STEPS["word_vectors"], context, key).status for key in (EN, DE, ES)] == ["fresh"] * 3
    context.force = True
    assert run(STEPS["word_vectors"], context, EN).status == "written"
    context = world.context()
    (world.folder / "en-de.txt").write_text("cat\tkatze\ndog\thund\n")
    assert run(STEPS["word_vectors"], context, DE).status == "written"
    assert run(STEPS["word_vectors"], context, DE).status == "fresh"


def test_another_language_in_the_space_leaves_the_first_ones_alone(world):
    world.upstream(world.context(), "a")
    (world.folder / "en-es.txt").write_text("cat\tgato\ndog\tperro\n")
    dictionaries = {"de": "en-de.txt", "es": "en-es.txt"}
    context = world.context({"kind": "input_embeddings", "pivot": "en", "dictionaries": dictionaries})
    assert [run(STEPS["word_vectors"], context, key).status for key in (EN, DE, ES)] == [
        "fresh",
        "fresh",
        "written",
    ]


def test_a_reversed_dictionary_says_the_same(world):
    context = world.upstream(world.context(), "a")
    before = _vectors(context, "a.space", "de")[1]
    lines = (world.folder / "en-de.txt").read_text().splitlines()
    (world.folder / "de-en.txt").write_text("\n".join("\t".join(line.split("\t")[::-1]) for line in lines))
    space = {"kind": "input_embeddings", "pivot": "en", "dictionaries": {"de": "de-en.txt"}}
    context = world.context({**space, "reversed_dictionaries": ["de"]})
    assert run(STEPS["word_vectors"], context, DE).status == "written"
    after = _vectors(context, "a.space", "de")[1]
    assert before.drop("vector").equals(after.drop("vector"))
    np.testing.assert_allclose(before["vector"].to_list(), after["vector"].to_list(), atol=1e-5)


def test_sub_tokens_have_a_space_of_their_own(world):
    consistency = {"space": "space", "unit": "token"}
    context = world.upstream(world.context(consistency=consistency), "a")
    found, frame = _vectors(context, "a.space.tokens", "en")
    seen = context.warehouse.scan("tokens", model="a", language="en").filter(
        ~pl.col("is_special") & ~pl.col("is_unknown") & pl.col("word_index").is_not_null()
    )
    assert set(found) == set(seen.collect()["token"])
    assert frame["matched"].equals(frame["word"].rename("matched"))


def test_sub_tokens_in_a_space_of_words_are_refused(world, vec_files):
    with pytest.raises(ValueError, match="holds vectors of words"):
        world.context(FILES, consistency={"space": "space", "unit": "token"})


def test_words_from_files(world, vec_files):
    context = world.upstream(world.context(FILES), "a", vectors=False)
    results = [run(STEPS["word_vectors"], context, key) for key in (EN, DE, ES)]
    assert [result.status for result in results] == ["written", "written", "not_applicable"]
    assert "no vector file for `es`" in results[2].reason
    found, frame = _vectors(context, "space", "en")
    assert {word: vector.tolist() for word, vector in found.items()} == {
        "The": [1, 0],
        "the": [1, 0],
        "cat": [0, 1],
    }
    assert dict(zip(frame["word"], frame["matched"], strict=True))["The"] == "the"
    assert frame["alignment"].unique().to_list() == ["given"]
    assert (results[0].metadata["found"], results[0].metadata["rows"]) == (3, 3)
    assert [run(STEPS["word_vectors"], context, key).status for key in (EN, DE)] == ["fresh"] * 2


def test_models_share_a_space_of_files_without_making_each_other_stale(world, vec_files):
    context = world.upstream(world.context(FILES), "a")
    world.upstream(context, "b", vectors=False)
    assert run(STEPS["word_vectors"], context, Key("b", language="en")).status == "fresh", "the same words"
    assert run(STEPS["word_vectors"], context, EN).status == "fresh"
    (vec_files / "en.vec").write_text("the 1 1\n.. 1 2\n")
    assert run(STEPS["word_vectors"], context, EN).status == "written"
    assert run(STEPS["word_vectors"], context, Key("b", language="en")).status == "fresh"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("/c/en/the 1 0\n/c/de/haus 0 1\n", r"0 of 26 .*Not found: .*The file has: /c/en/the, /c/de/haus.*prefix such as `/c/en/`"),
        ("en:the 1 0\nen:cat 0 1\n", "prefix such as `en:`"),
        ("zzyzx 1 0\nqwerty 0 1\n", "another language"),
        ("ZZYZX 1 0\nQWERTY 0 1\n", "capitalised"),
        ("the 1 0\ncat 0 1\n", r"3 of 26 distinct words of the corpora in `en`.*12%.*50% are needed \(`spaces\.space\.min_coverage`\)"),
    ],
)  # fmt: skip
def test_too_few_words_with_a_vector_stop_the_run(world, vec_files, rows, message):
    (vec_files / "en.vec").write_text(rows)
    context = world.upstream(world.context({**FILES, "min_coverage": 0.5}), "a", vectors=False)
    with pytest.raises(CorpusError, match=message):
        run(STEPS["word_vectors"], context, EN)
    assert context.warehouse.current(Slot("word_vectors", ("space", "en"))) is None


def test_no_word_with_a_vector_stops_the_run_whatever_the_study_allows(world, vec_files):
    (vec_files / "en.vec").write_text("/c/en/the 1 0\n/c/en/cat 0 1\n")
    context = world.upstream(world.context({**FILES, "min_coverage": 0}), "a", vectors=False)
    with pytest.raises(CorpusError, match="0 of 26"):
        run(STEPS["word_vectors"], context, EN)


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_dictionary_that_is_read_backwards_is_refused(world, language):
    context = world.upstream(world.context(), "a", vectors=False)
    lines = (world.folder / "en-de.txt").read_text().splitlines()
    backwards = [line.split("\t")[::-1] for line in lines]
    space = {"kind": "input_embeddings", "pivot": "en"}
    for name, separator in (("de-en.txt", "\t"), ("en-de.dict", " @ ")):
        rows = backwards if separator == "\t" else [line.split("\t") for line in lines]
        (world.folder / name).write_text("\n".join(separator.join(row) for row in rows))
        context = world.context({**space, "dictionaries": {"de": name}})
        with pytest.raises(
            CorpusError, match=r"read backwards.*Name the language in `spaces\.space\.reversed_dictionaries`"
        ):
            run(STEPS["word_vectors"], context, Key("a", language=language))
        context = world.context({**space, "dictionaries": {"de": name}, "reversed_dictionaries": ["de"]})
        assert run(STEPS["word_vectors"], context, Key("a", language=language)).status == "written"
    context = world.context({**space, "dictionaries": {"de": "en-de.txt"}, "reversed_dictionaries": ["de"]})
    with pytest.raises(CorpusError, match="Take it out of"):
        run(STEPS["word_vectors"], context, Key("a", language=language))


def test_what_is_missing_is_named(world, vec_files):
    context = world.context()
    with pytest.raises(MissingDataError, match="xlwh materialize tokens --model a --language en"):
        run(STEPS["word_vectors"], context, EN)
    run(STEPS["tokens"], context, DE)
    context = world.context({"kind": "input_embeddings", "pivot": "en", "dictionaries": {"de": "gone.txt"}})
    with pytest.raises(CorpusError, match=r"No file .*gone\.txt"):
        run(STEPS["word_vectors"], context, DE)
    context = world.context({"kind": "vec", "files": {"de": "gone.vec"}})
    with pytest.raises(CorpusError, match=r"No file .*gone\.vec"):
        run(STEPS["word_vectors"], context, DE)


def test_a_study_without_consistency(world):
    context = world.context(consistency=None)
    assert run(STEPS["word_vectors"], context, EN).status == "not_applicable"
    assert context.warehouse.current(Slot("word_vectors", ("a.space", "en"))) is None
