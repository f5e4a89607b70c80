"""UMSAB (XLM-T): tweets and their sentiment in two line-parallel files, `*_text.txt` and `*_labels.txt`.

The languages are not parallel: equal ids in different languages mean nothing. A tweet may hold TABs; a line is
one tweet. Labels 0, 1, 2 become negative, neutral, positive (the source gives no legend; the order is read
off the texts).
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from xlwh.corpora.base import Collector, Reader, Reading, row_id, unknown_label
from xlwh.corpora.files import Document, find, require_own_file
from xlwh.corpora.lines import Broken, read_lines, require_same_length
from xlwh.corpora.request import FileOptions, Request
from xlwh.corpora.sniff import NO_TABLE, refuse_other_format

LABELS = {"0": "negative", "1": "neutral", "2": "positive"}
NAMES = {
    "ar": "arabic",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "hi": "hindi",
    "it": "italian",
    "pt": "portuguese",
}


class UmsabOptions(FileOptions):
    """Options of the reader `umsab`."""

    file: str | None = Field(
        None,
        min_length=1,
        description="File below `path`; {split}, {language} and {part} (text or labels) are filled in.",
    )
    names: Mapping[str, str] = Field(
        default=NAMES, description="Language code -> its folder; default: the English names."
    )
    splits: Mapping[str, str] = Field(
        default={"dev": "val"}, description="Split of the study -> how the file names write it."
    )
    labels: Mapping[str, str] = Field(
        default=LABELS,
        description="Label in the file -> class label; default: 0 negative, 1 neutral, 2 positive.",
    )


class Umsab(Reader):
    """Tweets with a sentiment label."""

    name = "umsab"
    description = "UMSAB / XLM-T tweet sentiment: text and labels in separate files"
    version = 1
    option_model = UmsabOptions

    def locate(self, request: Request) -> tuple[Document, ...]:
        options = request.options(UmsabOptions)
        pattern = ("{language}/{split}_{part}.txt",)
        documents = tuple(find(request, options, pattern, {"part": part}) for part in ("text", "labels"))
        require_own_file(request, documents[0])
        return documents

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        text_file, label_file = documents
        labels = request.options(UmsabOptions).labels
        texts, golds = read_lines(text_file), read_lines(label_file)
        refuse_other_format(text_file, texts, *NO_TABLE, "table", "probabilities")
        require_same_length(text_file, texts, label_file, golds)
        collector = Collector(request, "sequence_classification", documents)
        for (row, text), (_, gold) in zip(texts.rest(0), golds.rest(0), strict=True):
            if isinstance(text, Broken):
                collector.reject(text_file, row, text.reason, text.raw)
            elif isinstance(gold, Broken):
                collector.reject(label_file, row, f"label: {gold.reason}", gold.raw)
            elif gold not in labels:
                collector.reject(label_file, row, unknown_label(gold), gold)
            else:
                collector.accept(text_file, row, text, row_id(row), text, label=labels[gold])
        return collector.reading()


READER: Reader = Umsab()
