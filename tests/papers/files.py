"""Files that are not on the hub: vectors, translations, rationales, as bytes under the paths that studies name."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping

from papers.text import sentence, vocabulary

_DIMENSIONS = 12


def vectors(language: str) -> bytes:
    """Words of all sentences in fastText's text form; words at the same place of a sentence are near each other."""
    lines = []
    for word, english in vocabulary(language):
        shared, own = _numbers(f"shared {english}"), _numbers(f"{language} {word}")
        numbers = (f"{a + 0.4 * b:.4f}" for a, b in zip(shared, own, strict=True))
        lines.append(f"{word} {' '.join(numbers)}\n")
    return f"{len(lines)} {_DIMENSIONS}\n{''.join(lines)}".encode()


def _numbers(name: str) -> list[float]:
    drawn = hashlib.sha256(name.encode()).digest()
    return [(each - 127.5) / 127.5 for each in drawn[:_DIMENSIONS]]


def moses(name: str, languages: Iterable[str], count: int) -> bytes:
    """An archive of OPUS: two files with a sentence a line."""
    return _zip(
        {
            f"{name}.{language}": "".join(f"{sentence(number, language).text}\n" for number in range(count))
            for language in languages
        }
        | {"README": "Made up.\n"}
    )


def iwslt(name: str, languages: Iterable[str], count: int, first: int) -> dict[str, str]:
    """The two files of a test set of IWSLT."""
    return {f"{name}.{language}.xml": _talk(language, range(first, first + count)) for language in languages}


def _talk(language: str, numbers: Iterable[int]) -> str:
    segments = "".join(
        f'<seg id="{place}"> {sentence(number, language).text} </seg>\n'
        for place, number in enumerate(numbers, start=1)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<refset setid="made" srclang="other" trglang="{language}" '
        f'refid="ref">\n<doc docid="1" genre="lectures">\n<url>none</url>\n{segments}</doc>\n</refset>\n</mteval>\n'
    )


def zipped(files: Mapping[str, str], folder: str) -> bytes:
    """An archive with a folder of files."""
    return _zip({f"{folder}/{name}": content for name, content in files.items()})


def _zip(files: Mapping[str, str]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content.encode())
    return written.getvalue()


def multirc(count: int) -> bytes:
    """ERASER's archive of MultiRC: a question with an answer about a passage, and the words that decide it."""
    documents: dict[str, str] = {}
    annotations: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for place, split in enumerate(annotations):
        for number in range(40 * place, 40 * place + count):
            words = sentence(number, "en").words
            documents[f"passage-{number}.txt"] = " ".join(words)
            evidence = {
                "docid": f"passage-{number}.txt",
                "start_token": 0,
                "end_token": 2,
                "text": " ".join(words[:2]),
                "start_sentence": 0,
                "end_sentence": 1,
            }
            query = f"{sentence(number + 6, 'en').text} ? || {sentence(number + 8, 'en').words[0]}"
            annotation = {
                "annotation_id": f"passage-{number}.txt:0:0",
                "classification": ("False", "True")[number % 2],
                "docids": None,
                "evidences": [[evidence]],
                "query": query,
                "query_type": None,
            }
            annotations[split].append(json.dumps(annotation) + "\n")
    files = {f"multirc/docs/{name}": text for name, text in documents.items()}
    files |= {f"multirc/{split}.jsonl": "".join(lines) for split, lines in annotations.items()}
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return written.getvalue()
