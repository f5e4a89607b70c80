"""Sub-tokens of pre-tokenised texts lie inside their words, in every treebank and under every tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from xlwh import corpora
from xlwh.models import Zoo
from xlwh.models.segments import occurrences, words_of
from xlwh.models.tokenize import encode, tokens_frame
from xlwh.study import Study

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "xlm", "t5", "mt5", "llama", "qwen2", "qwen3")

TRAPS = """\
# text = Le prix du pain, et le beurre du Chili.
1\tLe\t_\tDET\t_\t_\t_\t_\t_\t_
2\tprix\t_\tNOUN\t_\t_\t_\t_\t_\t_
3-4\tdu\t_\t_\t_\t_\t_\t_\t_\t_
3\tde\t_\tADP\t_\t_\t_\t_\t_\t_
4\tle\t_\tDET\t_\t_\t_\t_\t_\t_
5\tpain\t_\tNOUN\t_\t_\t_\t_\t_\tSpaceAfter=No
6\t,\t_\tPUNCT\t_\t_\t_\t_\t_\t_
7\tet\t_\tCCONJ\t_\t_\t_\t_\t_\t_
8\tle\t_\tDET\t_\t_\t_\t_\t_\t_
8.1\tle\t_\tDET\t_\t_\t_\t_\t_\t_
9\tbeurre\t_\tNOUN\t_\t_\t_\t_\t_\t_
10-11\tdu\t_\t_\t_\t_\t_\t_\t_\t_
10\tde\t_\tADP\t_\t_\t_\t_\t_\t_
11\tle\t_\tDET\t_\t_\t_\t_\t_\t_
12\tChili\t_\tPROPN\t_\t_\t_\t_\t_\tSpaceAfter=No
13\t.\t_\tPUNCT\t_\t_\t_\t_\t_\t_

# text = 20\u00a0000 can't  the
1\t20 000\t_\tNUM\t_\t_\t_\t_\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
2\tca\t_\tAUX\t_\t_\t_\t_\t_\t_
3\tn't\t_\tPART\t_\t_\t_\t_\t_\t_
4\tthe\t_\tDET\t_\t_\t_\t_\t_\t_

"""


def read(root: Path, path: str, language: str, split: str) -> corpora.Reading:
    dataset = {"reader": "conllu", "path": path, "split": split}
    study = {
        "name": "t",
        "languages": [language],
        "data_root": root,
        "folder": root,
        "datasets": {"d": dataset},
    }
    return corpora.read(Study.model_validate(study), "d", language)


def outside(frame: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Sub-tokens that have a word and are not in it, by what the examples state."""
    places = pl.DataFrame(
        [
            (example_id, number, place.segment, place.start, place.end)
            for example_id, words in zip(examples["example_id"], occurrences(examples), strict=True)
            for number, place in enumerate(words)
        ],
        schema={"example_id": pl.String, "word_index": pl.Int32, "side": pl.Int32, "low": pl.Int32, "high": pl.Int32},
        orient="row",
    )  # fmt: skip
    words = frame.filter(pl.col("word_index").is_not_null())
    joined = words.join(places, on=["example_id", "word_index"], how="left")
    assert joined.height == words.height
    inside = (
        (pl.col("segment") == pl.col("side"))
        & (pl.col("word_start") == pl.col("low"))
        & (pl.col("word_end") == pl.col("high"))
        & (pl.col("char_start") >= pl.col("low"))
        & (pl.col("char_end") <= pl.col("high"))
    )
    return joined.filter(~inside.fill_null(value=False))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_traps(
    checkpoint: Callable[..., Path], zoo_of: Callable[..., Zoo], tmp_path: Path, model_type: str
) -> None:
    (tmp_path / "dev-fr.conllu").write_text(TRAPS, encoding="utf-8")
    examples = read(tmp_path, ".", "fr", "dev").examples
    loaded = zoo_of(m={"path": str(checkpoint(model_type))}).load("m")
    frame = tokens_frame(loaded, encode(loaded, examples))
    assert outside(frame, examples).is_empty()
    first, second = examples["text"]
    surfaces = [
        [text[w.start : w.end] for w in words]
        for text, words in zip((first, second), occurrences(examples), strict=True)
    ]
    assert surfaces[0] == [
        "Le",
        "prix",
        "du",
        "du",
        "pain",
        ",",
        "et",
        "le",
        "beurre",
        "du",
        "du",
        "Chili",
        ".",
    ]
    assert surfaces[1] == ["20\u00a0000", "ca", "n't", "the"]
    assert [tuple(w.word for w in words) for words in occurrences(examples)] == words_of(examples)
    shown = frame.filter(pl.col("word_index").is_not_null())
    texts = dict(examples.select("example_id", "text").iter_rows())
    for row in shown.iter_rows(named=True):
        written = texts[row["example_id"]][row["char_start"] : row["char_end"]]
        if row["word"] in ("de", "le") and row["word_index"] != 7:
            assert written == "du"
        else:
            assert written.replace("\u00a0", " ") in row["word"]


def test_no_sub_token_of_any_treebank_lies_outside_its_word(zoo_of: Callable[..., Zoo], shared: Path) -> None:
    loaded = zoo_of(mini={"path": str(shared / "models" / "mini-x11")}).load("mini")
    files = sorted((shared / "data" / "ud").glob("UD_*/*.conllu"))
    assert sum("_pud-" in file.name for file in files) >= 9
    for file in files:
        language, split = file.name.split("_")[0], file.stem.split("-")[-1]
        reading = read(file.parent, ".", language, split)
        assert reading.rejected.is_empty()
        examples = reading.examples[:: 2 if file.name.startswith("fr_pud") else 10]
        frame = tokens_frame(loaded, encode(loaded, examples))
        assert outside(frame, examples).is_empty()
        # An own reading of the file: what is written for each word, and the text that the words are in.
        stated = written(file)
        for example_id, words, text in zip(
            examples["example_id"], occurrences(examples), examples["text"], strict=True
        ):
            assert [(w.word, text[w.start : w.end]) for w in words] == stated[example_id]


def written(file: Path) -> dict[str, list[tuple[str, str]]]:
    """sent_id -> (form, what is written for it), by the columns alone."""
    found = {}
    for block in file.read_text(encoding="utf-8").strip().split("\n\n"):
        name = re.search(r"^# sent_id = (.+)$", block, re.MULTILINE)
        rows = [line.split("\t") for line in block.split("\n") if not line.startswith("#")]
        ranges = {}
        for number, form, *_ in rows:
            if "-" in number:
                first, last = map(int, number.split("-"))
                parts = [r[1] for r in rows if r[0].isdigit() and first <= int(r[0]) <= last]
                if "".join(parts) != form:
                    ranges |= dict.fromkeys(range(first, last + 1), form)
        assert name
        found[name[1]] = [(r[1], ranges.get(int(r[0]), r[1])) for r in rows if r[0].isdigit()]
    return found
