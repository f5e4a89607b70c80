"""Datasets of the hub as they lie there, with rows of our own making: what a study asks of them, and no more."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import yaml

from papers.text import Told, sentence
from xlwh.corpora.tagged import UPOS

Row = dict[str, Any]
_NLI = ("entailment", "neutral", "contradiction")
_BINARY = ("0", "1")
_ENTITIES = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
_TAGS = sorted(UPOS)


@dataclass(frozen=True)
class Layout:
    """How a repository is laid out, and what its rows hold."""

    row: Callable[[int, str], Row]
    """Number and language -> a row."""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of class numbers, or of lists of them -> the names of the classes."""
    config: str | None = None
    """The only configuration, where there is one; else those that the study names."""
    language: str | None = None
    """Of a repository in one language."""
    file: str = "{folder}/{split}-00000-of-00001.parquet"
    is_listed: bool = True
    """Whether its card lists the files."""


def _nli(number: int, language: str) -> Row:
    return {
        "premise": sentence(number, language).text,
        "hypothesis": sentence(number + 7, language).text,
        "label": number % 3,
    }


def _pair(number: int, language: str) -> Row:
    return {
        "id": number,
        "sentence1": sentence(number, language).text,
        "sentence2": sentence(number + 5, language).text,
        "label": number % 2,
    }


def _question(number: int, language: str) -> Row:
    told = sentence(number, language)
    # A whole sentence before it, so that the answer is not where the text begins.
    context = f"{sentence(number + 3, language).text}. {told.text}"
    answer = told.words[-1]
    return {
        "id": f"q{number}",
        "title": "made",
        "context": context,
        "question": f"{sentence(number + 11, language).text}?",
        "answers": {"text": [answer], "answer_start": [context.rindex(answer)]},
    }


def _review(number: int, language: str) -> Row:
    return {
        "id": f"{language}_{number}",
        "text": sentence(number, language).text,
        "label": number % 5,
        "label_text": str(number % 5),
    }


def _classified(text: str, count: int, **more: Callable[[int, str], Any]) -> Callable[[int, str], Row]:
    def row(number: int, language: str) -> Row:
        made = {text: sentence(number, language).text, "label": number % count}
        return made | {name: value(number, language) for name, value in more.items()}

    return row


def _clue(number: int, language: str) -> Row:
    told = sentence(number + 9, language)
    return {
        "idx": number,
        "abst": sentence(number, language).text,
        "keyword": list(told.words[:3]),
        "sentence1": sentence(number, language).text,
        "sentence2": told.text,
        "label": number % 2,
    }


def _headline(number: int, language: str) -> Row:
    return {
        "premise": sentence(number, language).text,
        "hypothesis": sentence(number + 4, language).text,
        "label": number % 2,
        "topic": number % 6,
    }


def _xtreme(number: int, language: str) -> Row:
    told = sentence(number, language)
    return {
        "tokens": list(told.words),
        "ner_tags": _spans(told, number),
        "pos_tags": [_TAGS.index(tag) for tag in told.tags],
        "langs": [language] * len(told.words),
    }


def _spans(told: Told, number: int) -> list[int]:
    """Nouns are entities, with the word behind them."""
    tags = [0] * len(told.words)
    for place, tag in enumerate(told.tags):
        if tag == "NOUN" and tags[place] == 0:
            begin = 1 + 2 * ((number + place) % 3)
            tags[place] = begin
            if place + 1 < len(tags):
                tags[place + 1] = begin + 1
    return tags


LAYOUTS = {
    "facebook/xnli": Layout(_nli, {"label": _NLI}),
    "google-research-datasets/paws-x": Layout(_pair, {"label": _BINARY}),
    "google/xquad": Layout(_question),
    "rajpurkar/squad": Layout(_question, config="plain_text", language="en"),
    "google/xtreme": Layout(_xtreme, {"ner_tags": _ENTITIES, "pos_tags": tuple(_TAGS)}),
    "stanfordnlp/sst2": Layout(
        _classified("sentence", 2, idx=lambda number, _: number),
        {"label": ("negative", "positive")},
        config="default",
        language="en",
        file="data/{split}-00000-of-00001.parquet",
    ),
    "SetFit/sst2": Layout(
        _classified("text", 2, label_text=lambda number, _: ("negative", "positive")[number % 2]),
        config="default",
        language="en",
        file="{split}.jsonl",
        is_listed=False,
    ),
    "fancyzhx/ag_news": Layout(
        _classified("text", 4),
        {"label": ("World", "Sports", "Business", "Sci/Tech")},
        config="default",
        language="en",
        file="data/{split}-00000-of-00001.parquet",
    ),
    "lansinuote/ChnSentiCorp": Layout(
        _classified("text", 2),
        config="default",
        language="zh",
        file="data/{split}-00000-of-00001-0123456789abcdef.parquet",
    ),
    "clue/clue": Layout(_clue, {"label": _BINARY}, language="zh"),
    "mteb/amazon_reviews_multi": Layout(_review, file="{folder}/{split}.jsonl", is_listed=False),
    "midas/bbc_hindi_nli": Layout(
        _headline,
        {
            "label": ("not-entailment", "entailment"),
            "topic": ("india", "international", "news", "entertainment", "sport", "science"),
        },
        language="hi",
    ),
}
"""The hub's ids -> how they lie there."""


def repository(hub: str, wanted: Mapping[tuple[str, str, str], int]) -> dict[str, bytes | str]:
    """Files of a repository: `wanted` has configuration, split (the reader's) and language -> rows."""
    layout = LAYOUTS[hub]
    files: dict[str, bytes | str] = {}
    listed: dict[str, list[dict[str, str]]] = {}
    for (config, split, language), count in sorted(wanted.items()):
        name = layout.file.format(folder=config, split=split)
        # Splits do not share sentences.
        first = 40 * ("train", "validation", "dev", "test").index(split)
        rows = [layout.row(first + number, language) for number in range(count)]
        if name.endswith(".jsonl"):
            files[name] = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            files[name] = _parquet(rows)
        listed.setdefault(config, []).append({"split": split, "path": name})
    card: dict[str, Any] = {"license": "mit", "language": sorted({key[2] for key in wanted})}
    if layout.is_listed:
        card["configs"] = [
            {"config_name": name, "data_files": entries} for name, entries in sorted(listed.items())
        ]
    if layout.classes:
        card["dataset_info"] = [
            {"config_name": name, "features": _features(layout)} for name in sorted(listed)
        ]
    files["README.md"] = f"---\n{yaml.safe_dump(card, allow_unicode=True)}---\n\n# Made up\n"
    return files


def _features(layout: Layout) -> list[dict[str, Any]]:
    features: list[dict[str, Any]] = []
    for name, value in layout.row(0, layout.language or "en").items():
        if name in layout.classes:
            said = {"class_label": {"names": {str(i): each for i, each in enumerate(layout.classes[name])}}}
            features.append(
                {"name": name, "sequence": said} if isinstance(value, list) else {"name": name, "dtype": said}
            )
        elif isinstance(value, list):
            features.append({"name": name, "sequence": "string"})
        else:
            features.append({"name": name, "dtype": "int64" if isinstance(value, int) else "string"})
    return features


def _parquet(rows: list[Row]) -> bytes:
    written = io.BytesIO()
    pl.DataFrame(rows).write_parquet(written)
    return written.getvalue()
