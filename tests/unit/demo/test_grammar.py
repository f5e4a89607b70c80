"""The committed corpus: made by the grammar, parallel, balanced, aligned, and unguessable from the hypothesis."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from xlwh.corpora.xnli import LABELS
from xlwh.demo import grammar, lexicon
from xlwh.demo.grammar import DATA, TRAIN_LANGUAGES, Corpus
from xlwh.demo.lexicon import LANGUAGES
from xlwh.demo.meaning import LABELS as ORDER
from xlwh.demo.sampling import Dice, Item, items

NO_COUNTERPART = {
    ("zh", "zh"): {"个", "只", "匹", "头"},  # classifiers
    ("hi", "hi"): {"कर", "लगा"},  # light verbs: the noun before them carries the meaning
    ("ar", "en"): {"two"},  # the dual is a form of the noun
}
"""Content words of (dictionary, side) that no single word translates."""

CONTENT = ("NOUN", "VERB", "ADJ", "NUM", "ADV")


def rows(name: str) -> list[list[str]]:
    text = (DATA / name).read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [line.split("\t") for line in text[:-1].split("\n")]


def sentences(language: str) -> list[list[list[str]]]:
    """Tagged premises: (word, tag) pairs."""
    text = (DATA / "tags" / f"dev-{language}.tsv").read_text(encoding="utf-8")
    return [[line.split("\t") for line in block.split("\n")] for block in text[:-2].split("\n\n")]


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    grammar.write(folder)
    return folder


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return grammar.corpus()


def test_regenerating_gives_the_committed_bytes(regenerated: Path) -> None:
    made = {path.relative_to(regenerated) for path in regenerated.rglob("*") if path.is_file()}
    assert made == {path.relative_to(DATA) for path in DATA.rglob("*") if path.is_file()}
    for name in made:
        assert (regenerated / name).read_bytes() == (DATA / name).read_bytes(), name


def test_the_seed_decides() -> None:
    words = lexicon.load()
    one, again, other = (items(Dice(seed), words, 5, set()) for seed in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("split", ["dev", "train"])
def test_rows_are_parallel(split: str, corpus: Corpus) -> None:
    languages = LANGUAGES if split == "dev" else TRAIN_LANGUAGES
    made: list[Item] = getattr(corpus, split)
    for language in languages:
        found = rows(f"{split}-{language}.tsv")
        assert [row[2] for row in found] == [item.label for item in made]
        assert all(len(row) == 3 and row[0].strip() and row[1].strip() for row in found)
        assert {row[2] for row in found} <= LABELS.keys()
    assert len(made) >= (360 if split == "dev" else 4000)


def test_every_label_for_every_hypothesis() -> None:
    for split, languages in (("dev", LANGUAGES), ("train", TRAIN_LANGUAGES)):
        for language in languages:
            labels: defaultdict[str, Counter[str]] = defaultdict(Counter)
            for _, hypothesis, label in rows(f"{split}-{language}.tsv"):
                labels[hypothesis][label] += 1
            for count in labels.values():
                assert len(set(count.values())) == 1
                assert set(count) == set(ORDER)


def test_hypotheses_do_not_tell_the_label() -> None:
    """Ridge regression on the hypothesis' bag of words, trained on train, scored on dev."""
    train, dev = rows("train-en.tsv"), rows("dev-en.tsv")
    vocabulary = {
        word: i for i, word in enumerate(sorted({w for row in train + dev for w in row[1].split()}))
    }

    def bags(items: list[list[str]]) -> np.ndarray:
        counts = np.zeros((len(items), len(vocabulary) + 1))
        counts[:, -1] = 1
        for row, (_, hypothesis, _) in zip(counts, items, strict=True):
            for word in hypothesis.split():
                row[vocabulary[word]] += 1
        return counts

    gold = np.array([[label == row[2] for label in ORDER] for row in train], dtype=float)
    x = bags(train)
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ gold)
    predicted = (bags(dev) @ weights).argmax(axis=1)
    accuracy = np.mean(predicted == [ORDER.index(row[2]) for row in dev])
    assert accuracy < 0.4


def test_train_and_dev_share_no_hypothesis() -> None:
    assert not {row[1] for row in rows("train-en.tsv")} & {row[1] for row in rows("dev-en.tsv")}


def test_lengths() -> None:
    for name in ("train-en.tsv", "dev-en.tsv"):
        for premise, hypothesis, _ in rows(name):
            assert 6 <= len(premise.split()) <= 14
            assert 4 <= len(hypothesis.split()) <= 10


def test_phenomena_are_all_there(corpus: Corpus) -> None:
    seen = Counter((item.label, item.phenomenon) for item in corpus.train)
    assert len(seen) == 31
    assert all(count >= 10 for count in seen.values()), seen
    assert any(item.premise.passive for item in corpus.dev)
    assert any(item.hypothesis.negated for item in corpus.dev)


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_is_normalised_and_clean(language: str) -> None:
    for premise, hypothesis, _ in rows(f"dev-{language}.tsv"):
        for text in (premise, hypothesis):
            assert unicodedata.is_normalized("NFC", text)
            assert text == " ".join(text.split())
            assert (" " in text) != (language == "zh")
            assert "-" not in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_tags_cover_the_premises(language: str) -> None:
    joint = "" if language == "zh" else " "
    tagged = sentences(language)
    premises = [row[0] for row in rows(f"dev-{language}.tsv")]
    assert [joint.join(word for word, _ in sentence) for sentence in tagged] == premises
    tags = Counter(tag for sentence in tagged for _, tag in sentence)
    assert set(tags) <= {"ADJ", "ADP", "ADV", "AUX", "DET", "NOUN", "NUM", "PART", "PRON", "VERB"}
    assert tags["VERB"] >= len(premises)


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_alignments_point_at_words(language: str) -> None:
    joint = "" if language == "zh" else " "
    text = (DATA / "alignments" / f"dev.en-{language}.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in text[:-1].split("\n")]
    english, other = rows("dev-en.tsv"), rows(f"dev-{language}.tsv")
    assert [row["row"] for row in found] == list(range(len(english)))
    for row, source, target in zip(found, english, other, strict=True):
        for column, segment in enumerate(("premise", "hypothesis")):
            part = row[segment]
            assert " ".join(part["source"]) == source[column]
            assert joint.join(part["target"]) == target[column]
            pairs = [tuple(map(int, pair.split("-"))) for pair in part["alignment"].split()]
            assert len(set(pairs)) == len(pairs) >= 3
            assert max(i for i, _ in pairs) < len(part["source"])
            assert max(j for _, j in pairs) < len(part["target"])


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_dictionary_covers_the_vocabulary(language: str) -> None:
    pairs = rows(f"dictionaries/en-{language}.txt")
    assert all(len(pair) == 2 for pair in pairs)
    assert len({tuple(pair) for pair in pairs}) == len(pairs)
    for side, code in enumerate(("en", language)):
        needed = {word for sentence in sentences(code) for word, tag in sentence if tag in CONTENT}
        missing = needed - {pair[side] for pair in pairs}
        assert missing <= NO_COUNTERPART.get((language, code), set())


def test_links_are_those_of_the_dictionary() -> None:
    """Words linked one to one in the alignments are, nearly always, dictionary entries."""
    pairs = {tuple(pair) for pair in rows("dictionaries/en-de.txt")}
    text = (DATA / "alignments" / "dev.en-de.jsonl").read_text(encoding="utf-8")
    hits = total = 0
    for line in text[:-1].split("\n"):
        part = json.loads(line)["premise"]
        links = [tuple(map(int, pair.split("-"))) for pair in part["alignment"].split()]
        source, target = Counter(i for i, _ in links), Counter(j for _, j in links)
        single = [(i, j) for i, j in links if source[i] == target[j] == 1]
        hits += sum((part["source"][i], part["target"][j]) in pairs for i, j in single)
        total += len(single)
    assert hits / total > 0.99
