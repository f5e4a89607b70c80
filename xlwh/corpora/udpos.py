"""UDPOS as XTREME lays it out: `token TAB universal tag`, a blank line between sentences.

Multiword tokens are split into syntactic words; the surface text is lost, so `text` is the words joined by
spaces. Joined by sentence number, which means something only for files that are parallel.
"""

from __future__ import annotations

from xlwh.corpora.base import Collector, FileOptions, Reader, Reading, Request
from xlwh.corpora.files import Document, find, require_own_file
from xlwh.corpora.lines import read_lines
from xlwh.corpora.tagged import UPOS, read_tagged

_FILES = ("{split}-{language}.tsv", "{language}/{split}.tsv")


class Udpos(Reader):
    """Tokens with a universal part of speech each."""

    name = "udpos"
    description = "XTREME UDPOS: TSV of token and universal tag, blank line between sentences"
    version = 1
    option_model = FileOptions

    def locate(self, request: Request) -> tuple[Document, ...]:
        document = find(request, request.options(FileOptions), _FILES)
        require_own_file(request, document)
        return (document,)

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        collector = Collector(request, "token_classification", documents)
        read_tagged(read_lines(document), document, collector, UPOS, lambda token: token)
        return collector.reading()


READER: Reader = Udpos()
