"""What every reader shares: what it hands back, how its rows are collected, and how a sample is drawn.

A reader turns the files of one (dataset, split, language) into rows of `examples`, and every input record it
refuses into a row of `rejected_rows`. Nothing is lost silently: records in = accepted + rejected, always.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from xlwh.corpora import spans
from xlwh.corpora.files import Document, split_named
from xlwh.corpora.request import Options, Request
from xlwh.corpora.spans import Span
from xlwh.draws import chosen
from xlwh.errors import CorpusError
from xlwh.tables import Examples, RejectedRows

RAW_CHARACTERS = 10_000
"""Longest `rejected_rows.raw`."""

_REASONS = 5
_MAX_OFFSET = 2**31 - 1
_LETTER = re.compile(r"[^\W\d_]")
_LABEL = re.compile(
    r"-?\d{1,2}|entailment|neutral|contradiction|contradictory|not_entailment|positive|negative|"
    r"O|[BIES]-[A-Z]{2,}|ADJ|ADP|ADV|AUX|CCONJ|DET|INTJ|NOUN|NUM|PART|PRON|PROPN|PUNCT|SCONJ|SYM|VERB|X|_"
)
"""Labels of the classes and tags of common corpora, which are no text where nothing else stands in a column."""
_IDENTIFIER = re.compile(r"(?=[^\d]*\d)[A-Za-z0-9]+([-_.:/#][A-Za-z0-9]+)+")
"""Ids as corpora write them, ha_train_00042 or n/118200.3, which are no text."""
_LOST = re.compile("\ufffd|[\u00c2\u00c3][\u0080-\u00bf]")
"""What a conversion between encodings leaves: the sign for lost characters, UTF-8 that was read as Latin-1 (Ã¤)."""
_FEW_LOST = 5
"""One row in so many may hold it."""
_MOST_LABELS = 60
_MANY_ROWS = 10
"""Rows from which on as many labels as rows are no accident."""


@dataclass(frozen=True)
class Reading:
    """What came of reading one (dataset, split, language).

    records == examples.height + rejected.height + left_out
    """

    examples: pl.DataFrame
    """Accepted rows, as the contract `Examples` says, in file order."""
    rejected: pl.DataFrame
    """Refused rows, as the contract `RejectedRows` says, in file order."""
    records: int
    """Input records of this language."""
    elsewhere: int = 0
    """Records of other languages or splits in the same files: not ours, so neither accepted nor rejected."""
    left_out: int = 0
    """Accepted records that `max_examples` left out."""
    files: tuple[str, ...] = ()
    """Files read, relative to the data root."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What the reader found out about the files: layout, quoting."""

    def reasons(self) -> dict[str, int]:
        """Rejected rows per reason, most frequent first."""
        return dict(Counter(self.rejected["reason"].to_list()).most_common())

    def facts(self) -> dict[str, object]:
        """Counts, files, the most frequent reasons and the notes, by name."""
        return {
            "records": self.records,
            "accepted": self.examples.height,
            "rejected": self.rejected.height,
            "left_out": self.left_out,
            "other_languages": self.elsewhere,
            "files": list(self.files),
            "reasons": dict(list(self.reasons().items())[:_REASONS]),
            **self.notes,
        }

    def complaint(self) -> str:
        """How many rows were refused and why most often; empty where none was."""
        if self.rejected.is_empty():
            return ""
        reason, count = next(iter(self.reasons().items()))
        return (
            f"{self.rejected.height} of {self.records} rows rejected, most often ({count}): {reason}; "
            "see rejected_rows"
        )


class Reader(Protocol):
    """One file format. Readers hold no state; a module of this package defines one as `READER`."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """One line for `xlwh readers`."""
        ...

    @property
    def version(self) -> int:
        """Raised when the same bytes are read differently: what was read before is then stale."""
        ...

    @property
    def option_model(self) -> type[Options]: ...

    parallel: bool = False
    """Whether the format is one of translations: it is a fault then if the rows of two languages do not match."""

    def locate(self, request: Request) -> tuple[Document, ...]:
        """The files to read, found but not opened; `CorpusError` says what is there instead."""
        ...

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        """Read the files; `CorpusError` where they cannot be of this format at all."""
        ...

    def inapplicable(self, request: Request) -> str:
        """Why this language has no rows by the nature of the data; empty where it has."""
        return ""

    def source_side(self, request: Request) -> str | None:
        """The language that all rows are translated from, where each holds a text and its translation."""
        return None

    def fills(self, request: Request) -> Sequence[Mapping[str, str]]:
        """Values of the placeholders that only this reader has in names of files: a set for each file that is read."""
        return ({},)

    def identity(self, request: Request, documents: tuple[Document, ...]) -> list[str]:
        """What the rows depend on besides the options: the name and SHA-256 of every file."""
        return [f"{document.name}:{document.sha256()}" for document in documents]


class Collector:
    """Gathers a reader's rows, refuses those that the contract cannot hold, and counts all of them.

    Refused whatever the format: empty text, NUL characters, lone surrogates, a second row with the same id, words
    that have no place in the text. A file is refused as a whole where what its rows hold says that it is of another
    format: most of them are refused, most texts hold no letter, a column of labels stands where text is expected, or the
    labels are as many as the rows.
    """

    def __init__(self, request: Request, task: str, documents: Sequence[Document]) -> None:
        self._request = request
        self._task = task
        self._documents = tuple(documents)
        self._ids: set[str] = set()
        self._clusters: dict[str, str] = {}
        """What examples share -> the first of them."""
        self._rows: list[tuple[object, ...]] = []
        self._rejected: list[tuple[str, int, str, str]] = []
        self._letterless = {"text": 0, "second text": 0}
        self._ids_as_text = {"text": 0, "second text": 0}
        self._same = 0
        self._few = {"text": _Few(), "second text": _Few()}
        self._lost = {"text": 0, "second text": 0}
        self.expects_labels = False
        """Whether the study names where labels are."""
        self.elsewhere = 0
        self.notes: dict[str, str] = {}

    def accept(
        self,
        document: Document,
        row: int,
        raw: object,
        example_id: str,
        text: str,
        text_pair: str | None = None,
        *,
        label: str | None = None,
        words: list[str] | None = None,
        word_spans: list[Span] | None = None,
        word_labels: list[str] | None = None,
        answers: list[dict[str, object]] | None = None,
        shared: str | None = None,
    ) -> None:
        """Take a row, or reject it with the reason; `raw` is what a rejected row shows.

        Without `word_spans`, words have to be the text, white space aside. `shared` names what the example has in common
        with others, such as its document; without it pairs share their first text, and questions their paragraph.
        """
        flaw = _flaw(text, "text")
        if not flaw and text_pair is not None:
            flaw = _flaw(text_pair, "second text")
        if not flaw and label is not None:
            flaw = _flaw(label, "label")
        if not flaw and words is not None:
            # One string for all: a check per token costs more than the rest of reading.
            blank = not all(words) or any(map(str.isspace, words))
            flaw = "empty token" if blank else _flaw("\x1f".join(words), "tokens")
            if not flaw:
                word_spans, flaw = _placed(text, words, word_spans)
        if not flaw:
            flaw = _flaw(example_id, "id")
        if not flaw and example_id in self._ids:
            flaw = "the id occurs a second time"
        if flaw:
            self.reject(document, row, flaw, raw)
            return
        self._ids.add(example_id)
        if words is None:
            self._look(text, "text")
            if text_pair is not None:
                self._look(text_pair, "second text")
                self._same += text == text_pair
        if shared is None:
            shared = {"sentence_pair": text, "question_answering": text_pair}.get(self._task)
        cluster = example_id if shared is None else self._clusters.setdefault(shared, example_id)
        self._rows.append((
            example_id, cluster, text, text_pair, label, words, word_spans, word_labels, answers, document.name, row,
        ))  # fmt: skip

    def reject(self, document: Document, row: int, reason: str, raw: object) -> None:
        """Put a row in quarantine."""
        self._rejected.append((document.name, row, printable(reason), printable(raw)))

    @property
    def is_test(self) -> bool:
        """Whether the split may come without labels: every one but train and dev, by whatever name."""
        return split_named(self._request.split) not in ("train", "dev")

    def _look(self, text: str, what: str) -> None:
        self._letterless[what] += _LETTER.search(text) is None
        self._ids_as_text[what] += _IDENTIFIER.fullmatch(text) is not None
        self._lost[what] += not text.isascii() and _LOST.search(text) is not None
        self._few[what].add(text)

    def refuse(self, reason: str) -> CorpusError:
        """The error that refuses the files as a whole."""
        names = ", ".join(document.name for document in self._documents[:3])
        more = f" and {len(self._documents) - 3} more" if len(self._documents) > 3 else ""
        reader = self._request.dataset.reader
        return CorpusError(f"{names}{more}, read by `{reader}` as {self._request.language}: {reason}")

    def _require_format(self) -> None:
        """Refuse files whose rows say that they are of another format."""
        accepted, rejected = len(self._rows), len(self._rejected)
        records, key = accepted + rejected, self._request.key
        allowed = self._request.dataset.max_rejected
        if rejected and (not accepted or rejected > allowed * records):
            reasons = Counter(reason for _, _, reason, _ in self._rejected).most_common(3)
            shown = "; ".join(f"{reason} ({count})" for reason, count in reasons)
            _, number, _, raw = self._rejected[0]
            help_ = (
                f" At most a share of {allowed:g} may be refused (`datasets.{key}.max_rejected`)."
                if accepted
                else ""
            )
            raise self.refuse(
                f"{rejected} of {records} rows are refused, so the file is not of the format that the reader reads: "
                f"{shown}. The first one, row {number}: {raw[:80]!r}.{help_} Change `datasets.{key}.reader` or its options."
            )
        for what, count in self._letterless.items():
            if 2 * count > accepted:
                raise self.refuse(
                    f"the {what} of {count} of {accepted} rows holds no letter: a column of numbers or labels is read "
                    f"as text. Change `datasets.{key}.options` or `datasets.{key}.reader`."
                )
        for what, count in self._ids_as_text.items():
            if accepted >= _MANY_ROWS and 2 * count > accepted:
                raise self.refuse(
                    f"the {what} of {count} of {accepted} rows is an id, such as `{self._rows[0][3 if what != 'text' else 2]}`: "
                    f"a column of ids is read as text. Change `datasets.{key}.options`."
                )
        for what, count in self._lost.items():
            if accepted >= _MANY_ROWS and _FEW_LOST * count > accepted:
                raise self.refuse(
                    f"the {what} of {count} of {accepted} rows holds characters that were lost in a conversion (\ufffd, or Ã¤ for "
                    "ä). Fetch the original again; it is UTF-8 that was taken for another encoding, or the other way round."
                )
        for what, few in self._few.items():
            if few.values and all(_LABEL.fullmatch(value) for value in few.values):
                raise self.refuse(
                    f"the {what} of every row is a label ({', '.join(sorted(few.values)[:5])}): the columns are others "
                    f"than the reader takes them for. Change `datasets.{key}.options` or `datasets.{key}.reader`."
                )
        distinct = [len(few.values) for few in self._few.values()]
        if (
            accepted >= _MANY_ROWS
            and distinct in ([1, 0], [1, 1])
            and len({row[3] for row in self._rows}) == 1
        ):
            raise self.refuse(
                f"all {accepted} rows have the same text ({str(self._rows[0][2])[:40]!r}): the column is another one, or its "
                f"values are missing. Change `datasets.{key}.options`."
            )
        if self._task == "translation" and accepted >= _MANY_ROWS and 2 * self._same > accepted:
            raise self.refuse(
                f"both sides are the same text in {self._same} of {accepted} rows, so they are one language twice. Change "
                f"`datasets.{key}.path` or `datasets.{key}.options`."
            )
        labels = {row[4] for row in self._rows if row[4] is not None}
        if labels == {"-1"} or (self.expects_labels and accepted and not labels):
            if not self.is_test:
                raise self.refuse(
                    "no row has a label (all are null or -1, as where labels are withheld). Only a test set comes without; "
                    f"name another file, or drop `datasets.{key}.options.label`."
                )
            self._rows = [(*row[:4], None, *row[5:]) for row in self._rows]
            self.notes["labels"] = "withheld"
            labels = set()
        forms: dict[str, str] = {}
        for label in sorted(map(str, labels)):
            other = forms.setdefault(" ".join(label.split()).casefold(), label)
            if other != label:
                raise self.refuse(
                    f"the labels {other!r} and {label!r} differ in nothing but blanks or capitals, so one class would be counted "
                    f"as two. Mend the file, or write both alike by `datasets.{key}.options.labels`."
                )
        if accepted >= _MANY_ROWS and 2 * len(labels) > accepted:
            raise self.refuse(
                f"{len(labels)} different labels in {accepted} rows are no classes: the column of labels is another one. "
                f"Change `datasets.{key}.options`."
            )

    def reading(self) -> Reading:
        """All rows as frames; `CorpusError` where there is no record, or where they are of another format."""
        records = len(self._rows) + len(self._rejected)
        self._require_format()
        names = tuple(document.name for document in self._documents)
        if records == 0 and self.elsewhere == 0:
            raise CorpusError(
                f"{', '.join(names)}: no records, the file is empty. Put the data there, or change "
                f"`datasets.{self._request.key}.path`."
            )
        request = self._request
        place = {"dataset": request.key, "split": request.split, "language": request.language}
        columns = (
            "example_id", "cluster", "text", "text_pair", "label", "words", "word_spans", "word_labels", "answers",
        )  # fmt: skip
        return Reading(
            examples=_frame(
                Examples, (*columns, "source_file", "row_number"), self._rows, {**place, "task": self._task}
            ),
            rejected=_frame(
                RejectedRows, ("source_file", "row_number", "reason", "raw"), self._rejected, place
            ),
            records=records,
            elsewhere=self.elsewhere,
            files=names,
            notes=dict(self.notes),
        )


class _Few:
    """The distinct values of a column as long as they are few; none at all once they are many."""

    def __init__(self) -> None:
        self.values: set[str] = set()
        self._many = False

    def add(self, value: str) -> None:
        if self._many:
            return
        self.values.add(value)
        if len(self.values) > _MOST_LABELS:
            self._many = True
            self.values.clear()


def _frame(
    contract: Any, names: Sequence[str], rows: Sequence[tuple[object, ...]], constants: Mapping[str, str]
) -> pl.DataFrame:
    schema = contract.create_empty().schema
    # By column: building a frame from rows goes through a Series for every list in it.
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    frame = pl.DataFrame(
        {
            name: spans.column(column) if name == "word_spans" else list(column)
            for name, column in zip(names, columns, strict=True)
        },
        schema={name: schema[name] for name in names},
    )
    constant = [pl.lit(value, dtype=pl.String).alias(name) for name, value in constants.items()]
    return frame.with_columns(constant).select(schema.names())


def _placed(text: str, words: list[str], stated: list[Span] | None) -> tuple[list[Span] | None, str]:
    """Where the words stand in the text, and why they cannot (empty where they can)."""
    if stated is not None:
        return stated, spans.flaw(text, words, stated)
    if text == " ".join(words):
        return spans.joined(words), ""
    found = spans.aligned(text, words)
    if found is None:
        return None, f"the words are not the text: {spans.disagreement(text, words)}"
    return found, ""


def _flaw(text: str, what: str) -> str:
    """Why a string cannot be stored; empty where it can."""
    if not text or text.isspace():
        return f"empty {what}"
    if "\0" in text:
        return f"NUL character in the {what}"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"lone surrogate in the {what}"
    return ""


def printable(raw: object) -> str:
    r"""Anything as storable text of at most 10,000 characters: bad bytes and NUL as \xNN, objects as JSON."""
    if isinstance(raw, bytes):
        # A character takes at most four bytes, so what is cut off here is past the limit anyway.
        text = raw[: 4 * RAW_CHARACTERS].decode("utf-8", "backslashreplace")
    elif isinstance(raw, str):
        text = raw[:RAW_CHARACTERS].encode("utf-8", "backslashreplace").decode("utf-8")
    else:
        return printable(json.dumps(raw, ensure_ascii=False, default=repr))
    return text.replace("\0", "\\x00")[:RAW_CHARACTERS]


def row_id(row: int) -> str:
    """Identity of an example that is joined by its row: the zero-padded row number, as in 00042."""
    return f"{row:05d}"


def unknown_label(label: str) -> str:
    """The reason of a row whose label is not one of those known, cut to a readable length."""
    return f"unknown label `{label[:40]}`" if label.strip() else "empty label"


def verified_answers(context: str, answers: object) -> tuple[list[dict[str, object]] | None, str]:
    """SQuAD's answers with offsets in code points, and why they are refused (empty where they are not).

    `answers` is a list of {text, answer_start}, or the same as two lists {text: [], answer_start: []}.
    """
    if answers is None:
        return None, ""
    if isinstance(answers, Mapping):
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            return None, "answers are not of SQuAD's form"
        answers = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
    if not isinstance(answers, list):
        return None, "answers are not of SQuAD's form"
    found: list[dict[str, object]] = []
    for answer in answers:
        if not isinstance(answer, Mapping):
            return None, "answers are not of SQuAD's form"
        text, start = answer.get("text"), answer.get("answer_start")
        if not isinstance(text, str) or isinstance(start, bool) or not isinstance(start, int):
            return None, "answers are not of SQuAD's form"
        if not text or not 0 <= start <= _MAX_OFFSET or not context.startswith(text, start):
            return None, "the answer is not found at its answer_start"
        found.append({"text": text, "start": start})
    return found, ""


def sample(frame: pl.DataFrame, n: int | None, seed: int | None) -> pl.DataFrame:
    """The `n` rows whose (seed, example_id) hash lowest, in their old order; all of them where `n` is None.

    The choice depends on the ids alone, so parallel data keeps the same ids in every language and a smaller
    sample is a part of a larger one. SHA-256: the same on every platform and with every version of Polars.
    """
    if n is not None and (n < 0 or seed is None):
        raise ValueError(f"a sample of {n} rows by the seed {seed} was asked for")
    if n is None or frame.height <= n:
        return frame
    return frame[chosen(frame["example_id"].to_list(), n, seed)]
