"""XQuAD and everything else in SQuAD's JSON: questions on a paragraph, answers at code point offsets.

The question is `text`, the paragraph `text_pair`; examples are joined by question id. An answer that is not
found at its `answer_start` refuses the question. SQuAD 2's unanswerable questions have an empty list of
answers; a question without the key `answers` has NULL.
"""

from __future__ import annotations

from xlwh.corpora.base import Collector, Reader, Reading, verified_answers
from xlwh.corpora.files import Document
from xlwh.corpora.one_file import OneFileReader
from xlwh.corpora.records import load_json
from xlwh.corpora.request import Request
from xlwh.errors import CorpusError

_PATTERNS = (
    "xquad.{language}.json",
    "{split}-{language}.json",
    "{split}-context-{language}-question-{language}.json",
)


class Xquad(OneFileReader):
    """Extractive question answering."""

    name = "xquad"
    description = "XQuAD, MLQA, SQuAD: JSON with answers at code point offsets"
    version = 1
    patterns = _PATTERNS
    parallel = True

    def parse(self, request: Request, documents: tuple[Document, ...]) -> Reading:
        (document,) = documents
        content = load_json(document)
        articles = content.get("data") if isinstance(content, dict) else None
        if not isinstance(articles, list):
            raise CorpusError(f"{document.path}: not SQuAD's JSON: no list `data` at the top")
        collector = Collector(request, "question_answering", documents)
        row = 0
        for article in articles:
            paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
            if not isinstance(paragraphs, list):
                collector.reject(document, row, "an article without a list `paragraphs`", article)
                row += 1
                continue
            for paragraph in paragraphs:
                context = paragraph.get("context") if isinstance(paragraph, dict) else None
                questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
                if not isinstance(context, str) or not isinstance(questions, list):
                    collector.reject(document, row, "a paragraph without `context` and `qas`", paragraph)
                    row += 1
                    continue
                for question in questions:
                    _question(collector, document, row, context, question)
                    row += 1
        return collector.reading()


def _question(collector: Collector, document: Document, row: int, context: str, question: object) -> None:
    if not isinstance(question, dict):
        collector.reject(document, row, "a question that is no object", question)
        return
    text, question_id = question.get("question"), question.get("id")
    if not isinstance(text, str) or not isinstance(question_id, str | int):
        collector.reject(document, row, "a question without `id` and `question`", question)
        return
    answers, flaw = verified_answers(context, question.get("answers"))
    if flaw:
        collector.reject(document, row, flaw, question)
        return
    collector.accept(document, row, question, str(question_id), text, context, answers=answers)


READER: Reader = Xquad()
