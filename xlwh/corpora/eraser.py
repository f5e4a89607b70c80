"""Datasets in ERASER's format (DeYoung et al. 2020): documents, labels, and the words that people gave as the reason.

A folder with `train.jsonl`, `val.jsonl`, `test.jsonl` (annotations) and the documents, either `docs.jsonl` with the
fields docid and document or one file a document under `docs/`. Documents are tokenised: words are what white space
separates. The rationale becomes `word_labels`: `rationale` for words inside any evidence, `O` elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from xlwh.corpora.base import Collector, Reader, Reading
from xlwh.corpora.files import Document, find, require_own_file, search_all
from xlwh.corpora.lines import Broken, read_lines
from xlwh.corpora.records import read_records
from xlwh.corpora.request import FileOptions, Request
from xlwh.errors import CorpusError

RATIONALE, OTHER = "rationale", "O"
_ANNOTATIONS = ("{split}.jsonl", "{language}/{split}.jsonl")
_DOCUMENTS = ("docs.jsonl", "docs/*")


class EraserOptions(FileOptions):
    """Options of the reader `eraser`."""

    query: bool = Field(
        False, description="Take the query as the second text; default: the document alone is the text."
    )
    splits: Mapping[str, str] = Field(
        {"dev": "val"}, description="Split of the study -> how the file names write it."
    )


class Eraser(Reader):
    """Annotations with one document each; those over several documents are refused."""

    name = "eraser"
    description = "Labelled documents with human rationales in ERASER's format (annotations, docs)"
    version = 1
    option_model = EraserOptions

    def locate(self, request: Request) -> tuple[Document, ...]:
        options = request.options(EraserOptions)
        annotations = find(request, options, _ANNOTATIONS)
        require_own_file(request, annotations)
        documents = search_all(
            request, options.model_copy(update={"file": None, "member": None}), _DOCUMENTS, one_split=False
        )
        if not documents:
            raise CorpusError(
                f"Dataset `{request.key}`: no `docs.jsonl` and no folder `docs` beside {annotations.name}."
            )
        return (annotations, *documents)

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        annotations, *texts = documents
        options = request.options(EraserOptions)
        words = _words(texts)
        collector = Collector(
            request, "sentence_pair" if options.query else "sequence_classification", documents
        )
        for record in read_records(annotations, "jsonl", False, "none").rows:
            flaw = record.reason or _emit(
                collector, annotations, record.number, record.values, words, options
            )
            if flaw:
                collector.reject(annotations, record.number, flaw, record.raw)
        return collector.reading()


def _words(documents: Sequence[Document]) -> dict[str, list[str]]:
    """docid -> the words of its document."""
    if len(documents) == 1 and ".jsonl" in documents[0].name.rsplit("/", 1)[-1]:
        found: dict[str, list[str]] = {}
        for record in read_records(documents[0], "jsonl", False, "none").rows:
            docid, text = record.values.get("docid"), record.values.get("document")
            if isinstance(docid, str) and docid in found:
                raise CorpusError(f"{documents[0].path}: the document `{docid}` occurs a second time")
            if isinstance(docid, str) and isinstance(text, str):
                found[docid] = text.split()
        return found
    return {document.name.rsplit("/", 1)[-1]: _text(document).split() for document in documents}


def _text(document: Document) -> str:
    parts = []
    for _, line in read_lines(document).rest(0):
        if isinstance(line, Broken):
            raise CorpusError(f"{document.path}: a document is {line.reason}")
        parts.append(line)
    return "\n".join(parts)


def _emit(
    collector: Collector,
    file: Document,
    row: int,
    values: Mapping[str, object],
    documents: Mapping[str, list[str]],
    options: EraserOptions,
) -> str:
    """Accept one annotation; why it cannot be, else nothing."""
    example_id, label = values.get("annotation_id"), values.get("classification")
    if not isinstance(example_id, str) or not isinstance(label, str):
        return "no annotation_id or no classification"
    groups = values.get("evidences")
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        return "evidences are not lists of lists"
    evidences = [evidence for group in groups for evidence in group]
    if not all(isinstance(evidence, dict) for evidence in evidences):
        return "an evidence is not an object"
    named = values.get("docids")
    docids = [evidence.get("docid") for evidence in evidences] + (named if isinstance(named, list) else [])
    if not all(isinstance(docid, str) for docid in docids):
        return "a docid is no text"
    ids = set(docids)
    if len(ids) != 1:
        return f"{len(ids)} documents, where one is read"
    (docid,) = ids
    words = documents.get(docid)
    if words is None:
        return f"no document `{docid}`"
    marks = [OTHER] * len(words)
    for evidence in evidences:
        start, end = evidence.get("start_token"), evidence.get("end_token")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(words):
            return "an evidence lies outside its document"
        marks[start:end] = [RATIONALE] * (end - start)
    query = values.get("query")
    if options.query and not isinstance(query, str):
        return "no query"
    collector.accept(
        file,
        row,
        dict(values),
        example_id,
        " ".join(words),
        str(query) if options.query else None,
        label=label,
        words=words,
        word_labels=marks,
    )
    return ""


READER: Reader = Eraser()
