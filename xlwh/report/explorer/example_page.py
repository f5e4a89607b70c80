"""How one parallel example looks: both texts with their attributions, and the transport between their words."""

from __future__ import annotations

from bisect import bisect_left
from itertools import zip_longest
from typing import Any

import polars as pl
import regex

from xlwh.report.charts import Link, Node, flow, number, svg
from xlwh.report.explorer.example import Pair, Side
from xlwh.report.markup import Markup, data, el, visible
from xlwh.report.tables import html_table

STEPS = 10
"""Strengths of a highlight, each a class of the style sheet."""
_CLUSTER = regex.compile(r"\X")
_RIGHT_TO_LEFT = {"ar", "arc", "ckb", "dv", "fa", "he", "iw", "ps", "sd", "ug", "ur", "yi"}


def highlights() -> str:
    """The style sheet's classes of highlights: p1 to p10 for positive, n1 to n10 for negative attributions."""
    rules = []
    for sign, colour in (("p", "pos"), ("n", "neg")):
        for step in range(1, STEPS + 1):
            # At most half: the text over it stays readable in both themes.
            rules.append(
                f".{sign}{step}{{background:color-mix(in srgb,var(--{colour}) {step * 50 // STEPS}%,transparent)}}"
            )
    return "".join(rules)


def body(pair: Pair) -> Markup:
    """The page's content below its title."""
    row = pair.row
    largest = max(
        (abs(float(a or 0.0)) for side in (pair.source, pair.target) for a in side.tokens["attribution"]),
        default=0.0,
    )
    drawing = flow(
        _nodes(pair.source),
        _nodes(pair.target),
        [
            Link(i, j, float(pair.plan[i, j]), float(pair.similarity[i, j]))
            for i, j in zip(*pair.plan.nonzero(), strict=True)
            if pair.plan[i, j] > 1e-6
        ],
        source_title=f"{pair.source.language} (source)",
        target_title=f"{pair.target.language} (target)",
    )
    score = f"Transport of attributions from {pair.source.language} to {pair.target.language}, score {pair.score:.3f}"
    return el(
        "div",
        el(
            "div",
            _card(number(row["score"]), "score, as stored"),
            _card(number(pair.score), "score of the plan below"),
            _card(number(row["null_shuffled"]), f"shuffled null, {row['num_draws']} draws"),
            _card(number(row["score"] - row["null_shuffled"]), "excess over it"),
            class_="cards",
        ),
        el("div", [_sentence(side, name, largest) for side, name in ((pair.source, "source"), (pair.target, "target"))], class_="sentences"),
        el(
            "p",
            "Blue speaks for the explained class, orange against it; the strength is the attribution of the piece, on "
            "one scale for both languages.",
            class_="note",
        ),
        el(
            "section",
            el("h3", "What travels where", id="plan"),
            el(
                "p",
                "A bar is a word's share of the attributions. Ribbons are as thick as the mass that travels; blue ones "
                "between similar words make the score, grey ones add nothing. Point at a word to see its own.",
                class_="question",
            ),
            el("div", svg(drawing, f"{score}. The numbers follow in a table."), class_="drawing flow-drawing"),
            el("details", el("summary", "The plan in numbers"), html_table(_table(pair), caption="Transport plan", limit=2000)),
            class_="figure",
        ),
        el("details", el("summary", "Pieces and attributions"), _pieces(pair.source), _pieces(pair.target)),
    )  # fmt: skip


def _card(value: str, name: str) -> Markup:
    return el("div", el("b", value), el("span", name), class_="card")


def _nodes(side: Side) -> list[Node]:
    return [
        Node(
            visible(r["unit"]),
            float(r["weight"]),
            "" if r["covered"] else "has no vector: similar to nothing",
        )
        for r in side.units.iter_rows(named=True)
    ]


def _sentence(side: Side, name: str, largest: float) -> Markup:
    right = side.predicted == side.label
    verdict = "" if side.label is None else (" (right)" if right else f" (gold: {side.label})")
    direction = "rtl" if side.language.split("-")[0].split("_")[0] in _RIGHT_TO_LEFT else "auto"
    texts = [side.text, *([side.text_pair] if side.text_pair is not None else [])]
    return el(
        "article",
        el(
            "h3",
            data(side.language),
            el(
                "small",
                name,
                " · predicted ",
                data(side.predicted),
                "" if side.probability is None else f" {side.probability:.0%}",
                data(verdict),
            ),
        ),
        el(
            "div",
            [
                el(
                    "span",
                    _marked(text, segment, side, largest),
                    class_="pair" if segment else None,
                    dir=direction,
                )
                for segment, text in enumerate(texts)
            ],
            class_="words",
            lang=side.language,
            dir=direction,
        ),
        el("p", "explained class: ", data(side.target), class_="hint"),
        class_="sentence",
    )


def _marked(text: str, segment: int, side: Side, largest: float) -> list[Any]:
    """The text as it is, cut where pieces end; a cut inside a character as people see it is moved to its end.

    Pieces that share characters (bytes of one, words of one multiword token) are shown as one.
    """
    ends = [0, *(match.end() for match in _CLUSTER.finditer(text))]
    whole = set(ends)
    shown = [
        token
        for token in side.tokens.iter_rows(named=True)
        if token["segment"] == segment
        and not token["is_special"]
        and token["char_start"] is not None
        and token["char_end"] > token["char_start"]
    ]
    parts: list[Any] = []
    at = start = end = 0
    pending: list[dict[str, Any]] = []
    for token, following in zip_longest(shown, shown[1:]):
        start = token["char_start"] if not pending else min(start, token["char_start"])
        end = max(token["char_end"], end if pending else 0)
        pending.append(token)
        if following is not None and (end not in whole or following["char_start"] < end):
            continue
        end = ends[bisect_left(ends, end)]
        # Some tokenizers count the blank before a word to it; it is not coloured.
        start = max(at, start)
        while start < end and text[start].isspace():
            start += 1
        parts += [text[at:start], _piece(text[start:end], pending, largest)]
        at, pending = end, []
    parts.append(text[at:])
    return [part for part in parts if part != ""]


def _piece(text: str, tokens: list[dict[str, Any]], largest: float) -> Markup:
    value = sum(float(token["attribution"] or 0.0) for token in tokens)
    step = min(STEPS, round(STEPS * abs(value) / largest)) if largest else 0
    kind = f" {'p' if value >= 0 else 'n'}{step}" if step else ""
    told = " ".join(str(token["token"]) for token in tokens)
    return el("span", text, class_=f"piece mark{kind}", data_tip=f"{told}\n{number(value, 4)} logits")


def _table(pair: Pair) -> pl.DataFrame:
    source, target = pair.source.units["unit"].to_list(), pair.target.units["unit"].to_list()
    rows = [
        {
            "source word": source[i],
            "target word": target[j],
            "mass": float(pair.plan[i, j]),
            "similarity": float(pair.similarity[i, j]),
            "adds to the score": float(pair.plan[i, j] * max(0.0, pair.similarity[i, j])),
        }
        for i, j in zip(*pair.plan.nonzero(), strict=True)
        if pair.plan[i, j] > 1e-6
    ]
    return pl.DataFrame(rows).sort("adds to the score", descending=True)


def _pieces(side: Side) -> Markup:
    shown = side.tokens.select("position", "token", "word", "segment", "attribution")
    return html_table(shown, caption=f"Pieces in {side.language}")
