"""Readers of formats that keep one language of one split in one file."""

from __future__ import annotations

from typing import ClassVar

from xlwh.corpora.base import Reader
from xlwh.corpora.files import Document, find, require_own_file
from xlwh.corpora.request import FileOptions, Options, Request


class OneFileReader(Reader):
    """Finds the file by the patterns of its format; what is in it is the format's own affair."""

    patterns: ClassVar[tuple[str, ...]]
    """Names below the dataset's path, tried in this order."""

    option_model: type[Options] = FileOptions

    def locate(self, request: Request) -> tuple[Document, ...]:
        options = request.options(self.option_model)
        assert isinstance(options, FileOptions)
        document = find(request, options, self.patterns)
        require_own_file(request, document)
        return (document,)
