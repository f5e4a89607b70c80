"""UDPOS as XTREME lays it out: `token TAB universal tag`, a blank line between sentences.

Multiword tokens are split into syntactic words; the surface text is lost, so `text` is the words joined by
spaces. Joined by sentence number, which means something only for files that are parallel.
"""

from __future__ import annotations

from xlwh.corpora.base import Collector, Reader, Reading
from xlwh.corpora.files import Document
from xlwh.corpora.lines import read_lines
from xlwh.corpora.one_file import OneFileReader
from xlwh.corpora.request import Request
from xlwh.corpora.tagged import UPOS, read_tagged

_PATTERNS = ("{split}-{language}.tsv", "{language}/{split}.tsv")


class Udpos(OneFileReader):
    """Tokens with a universal part of speech each."""

    name = "udpos"
    description = "XTREME UDPOS: TSV of token and universal tag, blank line between sentences"
    version = 2
    patterns = _PATTERNS

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        collector = Collector(request, "token_classification", documents)
        read_tagged(read_lines(document), document, collector, UPOS, lambda token: token)
        return collector.reading()


READER: Reader = Udpos()
