"""From records with named fields to rows of `examples`, by column names given in the options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xlwh.corpora.base import Collector, row_id, unknown_label, verified_answers
from xlwh.corpora.choice import ELSEWHERE, Choice
from xlwh.corpora.files import Document
from xlwh.corpora.records import Record, Records, class_names, lookup
from xlwh.errors import CorpusError
from xlwh.texts import whole_number


class RefusalError(Exception):
    """A value that is not what its column should hold. Caught by `emit`, never seen outside."""


@dataclass(frozen=True)
class Columns:
    """Which field holds what. A dotted name reaches into nested fields: `translation.en`."""

    text: str | None
    text_pair: str | None = None
    label: str | None = None
    id: str | None = None
    words: str | None = None
    word_labels: str | None = None
    answers: str | None = None
    cluster: str | None = None
    """What examples with the same value have in common; None: as the collector finds it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label in the data -> class label; empty: every label is taken as it stands."""
    join: str | None = None
    """What a text column that holds lists of strings is joined by; None: it is refused."""

    def names(self) -> list[str]:
        named = (
            self.text, self.text_pair, self.label, self.id, self.words, self.word_labels, self.answers, self.cluster
        )  # fmt: skip
        return [name for name in named if name is not None]

    def task(self) -> str:
        """What is predicted from rows like these."""
        if self.answers is not None:
            return "question_answering"
        if self.words is not None:
            return "token_classification"
        return "sequence_classification" if self.text_pair is None else "sentence_pair"


def require_columns(where: object, records: Records, columns: Columns, key: str) -> None:
    """Refuse a file without the columns named; `CorpusError` lists those it has."""
    if records.fields is None:
        return
    for name in columns.names():
        if name not in records.fields and name.split(".")[0] not in records.fields:
            quoted = f'"{name}"' in records.fields
            advice = f'`datasets.{key}.options.quoting = "csv"` takes the quotes off' if quoted else ""
            raise CorpusError(
                f"{where}: no column `{name}`; there are: {', '.join(records.fields)}. "
                f"{advice or f'Change `datasets.{key}.options`'}."
            )


def emit_all(
    collector: Collector,
    document: Document,
    records: Records,
    columns: Columns,
    choice: Choice,
    first: int = 0,
) -> int:
    """Hand all records that are chosen to the collector; the number of the next record.

    Records without an id are numbered as they lie in the file or, where the filter tells languages apart, among those
    chosen: so rows of a file that holds all languages one behind the other are joined as rows of several files are.
    """
    if records.fields is not None:
        choice.require(document, records.fields)
    collector.expects_labels = columns.label is not None
    number, absent = first, set(columns.names())
    fields: dict[str, None] = {}
    for record in records.rows:
        if record.reason:
            choice.unplaced(record.reason)
            collector.reject(document, record.number, record.reason, record.raw)
        else:
            if records.fields is None and absent:
                absent -= {
                    name for name in absent if name in record.values or name.split(".")[0] in record.values
                }
                fields.update(dict.fromkeys(record.values))
            verdict = choice.row(record.values, records.features)
            if verdict == ELSEWHERE:
                collector.elsewhere += 1
            elif verdict:
                collector.reject(document, record.number, verdict, record.raw)
            else:
                row = choice.ours - 1 if choice.by_language else number
                emit(collector, document, record, row_id(row), columns, records.features)
        number += 1
    if records.fields is None and fields and absent:
        raise CorpusError(
            f"{document.path}: no record has the field `{min(absent)}`; there are: {', '.join(list(fields)[:20])}. "
            f"Change the options of the dataset."
        )
    return number


def emit(
    collector: Collector,
    document: Document,
    record: Record,
    example_id: str,
    columns: Columns,
    features: Mapping[str, Any],
) -> None:
    """Hand one record to the collector, accepted or rejected; `example_id` serves where no column does."""
    if record.reason:
        collector.reject(document, record.number, record.reason, record.raw)
        return
    values = record.values
    try:
        words = _strings(values, columns.words)
        text = " ".join(words or []) if columns.text is None else _text(values, columns.text, columns.join)
        pair = None if columns.text_pair is None else _text(values, columns.text_pair, columns.join)
        label = _label(values, columns, features)
        tags = _tags(values, columns, features)
        if words is not None and tags is not None and len(words) != len(tags):
            raise RefusalError(f"{len(words)} tokens but {len(tags)} tags")
        answers = None
        if columns.answers is not None:
            answers, flaw = verified_answers(pair or "", lookup(values, columns.answers))
            if flaw:
                raise RefusalError(flaw)
        if columns.id is not None:
            example_id = _plain(lookup(values, columns.id), columns.id)
        shared = None
        if columns.cluster is not None:
            shared = _plain(lookup(values, columns.cluster), columns.cluster)
    except RefusalError as refusal:
        collector.reject(document, record.number, str(refusal), record.raw)
        return
    collector.accept(
        document,
        record.number,
        record.raw,
        example_id,
        text,
        pair,
        label=label,
        words=words,
        word_labels=tags,
        answers=answers,
        shared=shared,
    )


def _text(values: Mapping[str, object], name: str, join: str | None) -> str:
    value = lookup(values, name)
    if isinstance(value, list) and join is not None:
        return join.join(_strings(values, name) or [])
    if not isinstance(value, str):
        is_list = isinstance(value, list) and any(isinstance(item, str) for item in value)
        raise RefusalError(f"no string `{name}`" + (", but a list: set `options.join`" if is_list else ""))
    return value


def _strings(values: Mapping[str, object], name: str | None) -> list[str] | None:
    if name is None:
        return None
    value = lookup(values, name)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise RefusalError(f"no list of strings `{name}`")
    return value


def _plain(value: object, name: str) -> str:
    """An id or a label as text: strings and integers, and floats that are whole (a column with gaps)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        try:
            return str(int(value))
        except ValueError:  # integers of thousands of digits
            raise RefusalError(f"`{name}` is no number") from None
    raise RefusalError(f"no string or integer `{name}`")


def _label(values: Mapping[str, object], columns: Columns, features: Mapping[str, Any]) -> str | None:
    if columns.label is None:
        return None
    value = lookup(values, columns.label)
    if value is None:
        return None
    names = class_names(features.get(columns.label))
    # datasets writes -1 where a label is withheld.
    if names and value in (-1, "-1"):
        return None
    return _named(value, columns.label, names, columns.labels)


def _tags(values: Mapping[str, object], columns: Columns, features: Mapping[str, Any]) -> list[str] | None:
    if columns.word_labels is None:
        return None
    value = lookup(values, columns.word_labels)
    if value is None:
        return None
    if not isinstance(value, list):
        raise RefusalError(f"no list `{columns.word_labels}`")
    feature = features.get(columns.word_labels)
    names = class_names(feature.get("feature") if isinstance(feature, Mapping) else None)
    return [_named(item, columns.word_labels, names, columns.labels) for item in value]


def _named(value: object, column: str, names: Sequence[str], labels: Mapping[str, str]) -> str:
    """The class label of a value: by the data's own class names, then by the options."""
    if names and isinstance(value, str) and value not in names and value.isdecimal():
        # Text files have the number of a class as text.
        if (number := whole_number(value)) is None:
            raise RefusalError(unknown_label(value))
        value = number
    if names and isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(names):
            raise RefusalError(unknown_label(str(value)))
        name = names[value]
    else:
        name = _plain(value, column)
    if not labels:
        return name
    if name not in labels:
        raise RefusalError(unknown_label(name))
    return labels[name]
