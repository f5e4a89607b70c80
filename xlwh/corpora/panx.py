"""PAN-X / WikiANN: `token TAB tag`, tags in BIO over PER, ORG and LOC, a blank line between sentences.

The original files prefix every token with its language (`en:Paris`), XTREME's do not. The prefix is cut at
the first colon only, since a token may be a colon itself (`en::`). The languages are not parallel. WikiANN's own
`de.tar.gz` is read as it is: the member of the split is taken.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xlwh.corpora.base import Collector, FileOptions, Reader, Reading, Request
from xlwh.corpora.files import Document
from xlwh.corpora.lines import read_lines
from xlwh.corpora.one_file import OneFileReader
from xlwh.corpora.tagged import common_prefix, read_tagged

TAGS = frozenset(["O", *(f"{part}-{kind}" for part in "BI" for kind in ("PER", "ORG", "LOC"))])

_PATTERNS = ("{split}-{language}.tsv", "{language}/{split}", "{language}/{split}.tsv", "{language}.tar.gz")


class PanxOptions(FileOptions):
    """Options of the reader `panx`."""

    prefix: Literal["auto", "yes", "no"] = Field(
        "auto", description="Whether tokens carry `<language>:` in front; auto: if most of them do."
    )


class Panx(OneFileReader):
    """Tokens with a named-entity tag each."""

    name = "panx"
    description = "PAN-X / WikiANN: TSV of token and BIO tag, with or without `en:` in front of the tokens"
    version = 2
    option_model = PanxOptions
    patterns = _PATTERNS

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        options = request.options(PanxOptions)
        lines = read_lines(document)
        prefix = options.names.get(request.language, request.language) + ":"
        prefixed = options.prefix == "yes" or (options.prefix == "auto" and common_prefix(lines, prefix))

        def strip(token: str) -> str | None:
            if not prefixed:
                return token
            return token[len(prefix) :] if token.startswith(prefix) else None

        collector = Collector(request, "token_classification", documents)
        collector.notes["prefix"] = prefix if prefixed else "none"
        read_tagged(lines, document, collector, TAGS, strip)
        return collector.reading()


READER: Reader = Panx()
