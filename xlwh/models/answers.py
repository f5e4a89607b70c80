"""Extractive question answering: windows over long contexts, gold positions, the best span, and SQuAD's F1.

A context longer than the model is cut into windows that share `doc_stride` sub-tokens, each with the whole question
in front (Devlin et al. 2019, run_squad; the question itself is cut at `max_question`, and counted). In a window
without the answer both positions are the input's first token. The predicted answer is the span with the largest sum
of start and end logits over all windows; its text is what stands in the context between the two sub-tokens' offsets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import regex
from numpy.typing import NDArray

from xlwh.models.tokenize import KEYS, NONE, Encoded, encode

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

    from xlwh.models.gold import Gold
    from xlwh.models.loaded import LoadedModel
    from xlwh.study.models import Inputs

UNCUT = 2**30
"""A longest input that no text reaches."""

NO_ANSWER = 0
"""Position of both ends in a window that does not hold the answer."""

_PUNCTUATION = regex.compile(r"[\p{P}\p{S}]")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = regex.compile(rf"[{_UNSPACED}]|[^\s\p{{Z}}{_UNSPACED}]+")
_ARABIC_ARTICLE = regex.compile(r"(^|\s)ال")
ARTICLES: Mapping[str, frozenset[str]] = {
    "en": frozenset(("a", "an", "the")),
    "de": frozenset(
        ["ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem", "des"]
    ),
    "es": frozenset(["un", "una", "unos", "unas", "el", "la", "los", "las"]),
    "vi": frozenset(["của", "là", "cái", "chiếc", "những"]),
}
"""Words left out of answers. Source: Lewis et al. 2020, mlqa_evaluation_v1.py; the Arabic article is a prefix."""


@dataclass(frozen=True)
class Windows(Encoded):
    """Inputs of questions, several where the context is long: an `Encoded` whose rows are windows."""

    example: NDArray[np.int64]
    """`[windows]`, row of the examples that each window belongs to, ascending."""
    position: NDArray[np.int32]
    """`[tokens]`, index of each sub-token in the uncut input of its example."""
    whole: Encoded
    """The uncut inputs, one per example; `num_truncated` are the question's sub-tokens that no window has."""

    def of(self, example: int) -> range:
        """The windows of one example."""
        first, last = np.searchsorted(self.example, [example, example + 1])
        return range(int(first), int(last))


@dataclass(frozen=True)
class Answer:
    """The best span of one example."""

    window: int
    """Row of the windows that it was found in."""
    start: int
    """First sub-token, in that window."""
    end: int
    """Last sub-token, in that window."""
    char_start: int
    """First code point of the context."""
    char_end: int
    """One past the last one."""
    text: str
    logits: tuple[float, float]
    """Of the start and of the end."""
    probabilities: tuple[float, float]
    """Softmax of the start and of the end logits over the positions of the window."""


def windows(loaded: LoadedModel, examples: pl.DataFrame, inputs: Inputs) -> Windows:
    """Cut questions and contexts (`text` and `text_pair` of `examples`) into inputs of at most `loaded.max_length`."""
    whole = encode(replace(loaded, max_length=UNCUT), examples)
    chosen: list[NDArray[np.int64]] = []
    owner: list[int] = []
    cut = np.zeros(len(whole), dtype=np.int32)
    for index in range(len(whole)):
        at = np.arange(whole.bounds[index], whole.bounds[index + 1])
        segment = whole.segment[at]
        question, context = np.flatnonzero(segment == 0), np.flatnonzero(segment == 1)
        added = len(at) - len(question) - len(context)
        keep = min(inputs.max_question, (loaded.max_length - added) // 2)
        cut[index] = max(0, len(question) - keep)
        around = np.setdiff1d(np.arange(len(at)), np.concatenate([context, question[keep:]]))
        room = loaded.max_length - len(around)
        middle = int(context[0]) if len(context) else len(at)
        before, after = around[around < middle], around[around > middle]
        for start in _starts(len(context), room, inputs.doc_stride):
            chosen.append(at[np.concatenate([before, context[start : start + room], after])])
            owner.append(index)
    take = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
    example = np.array(owner, dtype=np.int64)
    sizes = [len(part) for part in chosen]
    whole = replace(whole, num_truncated=cut)
    return Windows(
        keys=whole.keys[example.tolist()],
        bounds=np.cumsum([0, *sizes], dtype=np.int64),
        input_ids=whole.input_ids[take],
        token_type_ids=None if whole.token_type_ids is None else whole.token_type_ids[take],
        special=whole.special[take],
        segment=whole.segment[take],
        char_start=whole.char_start[take],
        char_end=whole.char_end[take],
        word_index=whole.word_index[take],
        occurrences=tuple(whole.occurrences[i] for i in owner),
        segmenters=tuple(whole.segmenters[i] for i in owner),
        num_truncated=cut[example],
        example=example,
        position=(take - np.repeat(whole.bounds[example], sizes)).astype(np.int32),
        whole=whole,
    )


def _starts(length: int, room: int, stride: int) -> list[int]:
    """Where windows of `room` sub-tokens begin that cover `length` and share `stride` (at most half a window)."""
    step = room - min(stride, room // 2)
    return [0, *range(step, max(0, length - room) + step, step)]


def answer_targets(
    encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs
) -> Mapping[str, NDArray[np.int64]]:
    """First and last sub-token of the first gold answer in every window; NO_ANSWER twice where it is not all there."""
    assert isinstance(encoded, Windows)
    positions = np.full((2, len(encoded)), NO_ANSWER, dtype=np.int64)
    gold = examples["answers"].to_list()
    for window, index in enumerate(encoded.example.tolist()):
        if not gold[index]:
            continue
        start = gold[index][0]["start"]
        span = _covering(encoded, window, start, start + len(gold[index][0]["text"]))
        if span is not None:
            positions[:, window] = span
    return {"start_positions": positions[0], "end_positions": positions[1]}


def _covering(encoded: Windows, window: int, start: int, end: int) -> tuple[int, int] | None:
    """The sub-tokens of a window's context that cover characters `start:end`; None if the window cuts them off."""
    row = encoded.row(window)
    inside = np.flatnonzero(encoded.segment[row] == 1)
    starts, ends = encoded.char_start[row][inside], encoded.char_end[row][inside]
    touched = np.flatnonzero((starts < end) & (ends > start))
    if not len(touched):
        return None
    whole = encoded.whole.row(int(encoded.example[window]))
    in_context = encoded.whole.segment[whole] == 1
    overlap = (encoded.whole.char_start[whole] < end) & (encoded.whole.char_end[whole] > start)
    if int((in_context & overlap).sum()) != len(touched):
        return None
    return int(inside[touched[0]]), int(inside[touched[-1]])


def answer_loss(output: Any, gold: Mapping[str, Tensor], attention_mask: Tensor) -> Tensor:
    """Mean cross entropy of the start and of the end, over the positions of the window that are no padding.

    transformers' own lets padding take part, so that it depends on the batch.
    """
    import torch

    padding = ~attention_mask.bool()
    losses = [
        torch.nn.functional.cross_entropy(
            logits.float().masked_fill(padding, float("-inf")), gold[f"{end}_positions"]
        )
        for end, logits in (("start", output.start_logits), ("end", output.end_logits))
    ]
    return (losses[0] + losses[1]) / 2


def trained_windows(gold: Gold, inputs: Inputs) -> NDArray[np.bool_]:
    """Which windows are trained on: those with the answer, and `inputs.empty_windows` of the others, evenly spaced.

    Windows of long contexts are mostly empty, and teach little (Alberti et al. 2019 keep one in fifty).
    """
    empty = np.asarray(gold["end_positions"]) == NO_ANSWER
    due = np.floor(np.cumsum(empty) * inputs.empty_windows)
    kept: NDArray[np.bool_] = ~empty | (np.diff(due, prepend=0) > 0)
    return kept


def window_counts(encoded: Encoded, gold: Gold, inputs: Inputs) -> dict[str, int]:
    """Windows, those without the answer, and questions whose context did not fit into one."""
    assert isinstance(encoded, Windows)
    per_example = np.bincount(encoded.example, minlength=len(encoded.whole))
    return {
        "windows": len(encoded),
        "windows_without_answer": int((np.asarray(gold["end_positions"]) == NO_ANSWER).sum()),
        "overlong_contexts": int((per_example > 1).sum()),
    }


def best_answers(
    encoded: Windows,
    contexts: Sequence[str],
    start_logits: NDArray[np.float32],
    end_logits: NDArray[np.float32],
    max_answer: int,
) -> list[Answer | None]:
    """The best span of each example: logits `[tokens]` in the order of `encoded.input_ids`.

    Of at most `max_answer` sub-tokens, all of them of the context; the first of equals. None where a context has no
    sub-token.
    """
    found: list[Answer | None] = []
    for index, context in enumerate(contexts):
        best: tuple[float, int, int, int] | None = None
        for window in encoded.of(index):
            span = _best_span(encoded, window, start_logits, end_logits, max_answer)
            if span is not None and (best is None or span[0] > best[0]):
                best = (span[0], window, span[1], span[2])
        found.append(None if best is None else _answer(encoded, context, best, start_logits, end_logits))
    return found


def _best_span(
    encoded: Windows, window: int, starts: NDArray[np.float32], ends: NDArray[np.float32], longest: int
) -> tuple[float, int, int] | None:
    row = encoded.row(window)
    inside = np.flatnonzero(encoded.segment[row] == 1)
    if not len(inside):
        return None
    start = starts[row][inside].astype(np.float64)
    end = np.concatenate([ends[row][inside].astype(np.float64), np.full(longest - 1, -np.inf)])
    # Row i: the ends that a span from the i-th sub-token can have.
    sums = start[:, None] + np.lib.stride_tricks.sliding_window_view(end, longest)
    first, extra = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return float(sums[first, extra]), int(inside[first]), int(inside[first + extra])


def _answer(
    encoded: Windows,
    context: str,
    best: tuple[float, int, int, int],
    starts: NDArray[np.float32],
    ends: NDArray[np.float32],
) -> Answer:
    _, window, first, last = best
    row = encoded.row(window)
    # Offsets need not rise: XLM writes `",` as `,"`.
    begin = int(encoded.char_start[row][first : last + 1].min())
    end = int(encoded.char_end[row][first : last + 1].max())
    text = context[begin:end]
    # A blank alone may begin or end the span.
    begin += len(text) - len(text.lstrip())
    text = text.strip()
    chosen = [(values[row].astype(np.float64), place) for values, place in ((starts, first), (ends, last))]
    return Answer(
        window=window,
        start=first,
        end=last,
        char_start=begin,
        char_end=begin + len(text),
        text=text,
        logits=(float(chosen[0][0][first]), float(chosen[1][0][last])),
        probabilities=(_share(*chosen[0]), _share(*chosen[1])),
    )


def _share(logits: NDArray[np.float64], place: int) -> float:
    powers = np.exp(logits - logits.max())
    return float(powers[place] / powers.sum())


def answer_words(text: str, language: str) -> list[str]:
    """An answer as the list of words that is compared, the macro `answer_words` of the views: MLQA's normalisation."""
    import unicodedata

    code = language.split("-")[0]
    plain = _PUNCTUATION.sub("", unicodedata.normalize("NFC", text).lower())
    if code == "ar":
        plain = _ARABIC_ARTICLE.sub(r"\1", plain)
    return [word for word in _WORD.findall(plain) if word not in ARTICLES.get(code, ())]


def words_f1(one: Sequence[str], other: Sequence[str]) -> float:
    """2 * common / (words + words), every word as often as it occurs; where one is empty, 1 if both are."""
    if not one or not other:
        return float(len(one) == len(other))
    common = sum((Counter(one) & Counter(other)).values())
    return 2 * common / (len(one) + len(other))


class AnswerScorer:
    """Development score of answers: mean F1 of their words with those of the closest gold answer."""

    def __init__(
        self, encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs
    ) -> None:
        assert isinstance(encoded, Windows)
        self._windows, self._inputs = encoded, inputs
        self._examples = examples.select(*KEYS, "text_pair", "answers")
        self._logits = np.zeros((2, len(encoded.input_ids)), dtype=np.float32)
        self._seen = False

    def add(
        self, rows: NDArray[np.int64], output: Any, gold: Mapping[str, Tensor], real: NDArray[np.bool_]
    ) -> int:
        """Take the logits of a batch of windows; how many windows its loss is a mean of."""
        for which, logits in enumerate((output.start_logits, output.end_logits)):
            values = logits.float().cpu().numpy()
            for place, window in enumerate(rows.tolist()):
                self._logits[which, self._windows.row(window)] = values[place][real[place]]
        self._seen = True
        return len(rows)

    def scores(self) -> dict[str, float]:
        """F1 and exact match."""
        if not self._seen:
            return {"f1": 0.0, "exact_match": 0.0}
        answers = best_answers(
            self._windows,
            self._examples["text_pair"].to_list(),
            self._logits[0],
            self._logits[1],
            self._inputs.max_answer,
        )
        f1 = exact = 0.0
        for answer, row in zip(answers, self._examples.iter_rows(named=True), strict=True):
            said = answer_words("" if answer is None else answer.text, row["language"])
            wanted = [answer_words(gold["text"], row["language"]) for gold in row["answers"]] or [[]]
            f1 += max(words_f1(said, words) for words in wanted)
            exact += float(said in wanted)
        return {"f1": f1 / len(answers), "exact_match": exact / len(answers)}


def window_of(encoded: Windows, window: int) -> tuple[int, int]:
    """First and last sub-token of a window's context, in the uncut input; (NONE, NONE) where it has none."""
    row = encoded.row(window)
    inside = encoded.position[row][encoded.segment[row] == 1]
    return (int(inside[0]), int(inside[-1])) if len(inside) else (NONE, NONE)
