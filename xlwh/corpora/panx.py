"""PAN-X / WikiANN: `token TAB tag`, tags in BIO over PER, ORG and LOC, a blank line between sentences.

The original files prefix every token with its language (`en:Paris`), XTREME's do not. The prefix is cut at
the first colon only, since a token may be a colon itself (`en::`). The languages are not parallel. WikiANN's own
`de.tar.gz` is read as it is: the member of the split is taken.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from pydantic import Field

from xlwh.corpora.base import Collector, Reader, Reading
from xlwh.corpora.files import Document
from xlwh.corpora.lines import read_lines
from xlwh.corpora.one_file import OneFileReader
from xlwh.corpora.request import FileOptions, Request
from xlwh.corpora.tagged import common_prefix, read_tagged
from xlwh.errors import CorpusError

TAGS = frozenset(["O", *(f"{part}-{kind}" for part in "BI" for kind in ("PER", "ORG", "LOC"))])

_PREFIX = re.compile(r"[a-z]{2,3}(-[a-z]+)*:")
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

        other = Counter(
            match[0] for text in lines.texts if text and (match := _PREFIX.match(text))
        ).most_common(1)
        if options.prefix == "auto" and not prefixed and other and common_prefix(lines, other[0][0]):
            raise CorpusError(
                f"{document.path}: its tokens begin with `{other[0][0]}`, but it is read as `{request.language}`. Name the "
                f"file of that language, or the prefix in `datasets.{request.key}.options.names`."
            )

        def strip(token: str) -> str | None:
            if not prefixed:
                return token
            return token[len(prefix) :] if token.startswith(prefix) else None

        collector = Collector(request, "token_classification", documents)
        collector.notes["prefix"] = prefix if prefixed else "none"
        read_tagged(lines, document, collector, TAGS, strip)
        return collector.reading()


READER: Reader = Panx()
