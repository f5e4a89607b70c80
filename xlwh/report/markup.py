"""HTML and SVG as text, with everything that comes from data escaped.

`el` is the only maker of markup: its children and attributes are escaped unless they are `Markup` already.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable


class Markup(str):
    """Text that is markup already: every piece of data inside it was escaped when it was made."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]

_VOID = {"br", "hr", "img", "input", "link", "meta"}
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def el(tag: str, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """An element. Attributes: `class_` is class, other `_` are `-`; None and False leave it out, True sets it bare."""
    parts = [f"<{tag}"]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {name}")
        else:
            shown = value if isinstance(value, str) else short(value)
            parts.append(f' {name}="{html.escape(visible(shown))}"')
    if tag in _VOID:
        return Markup("".join(parts) + ">")
    parts.append(">")
    parts.append(join(children))
    parts.append(f"</{tag}>")
    return Markup("".join(parts))


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other, escaped where they are not markup."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(html.escape(visible(child)))
        elif isinstance(child, int | float):
            parts.append(short(child))
        else:
            parts.append(join(child))
    return Markup("".join(parts))


def data(value: object) -> Markup:
    """A text from the data, isolated: its direction is its own and does not turn its surroundings."""
    return el("bdi", str(value), dir="auto")


def visible(text: str) -> str:
    """The text with what cannot be seen or turns the text around made visible: control characters, bidi overrides."""
    return _UNSEEN.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"‹U+{code:04X}›"


def short(value: float) -> str:
    """A coordinate with two decimals at most: what is drawn needs no more."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def text_width(text: str, size: float) -> float:
    """Pixels that a text takes in a sans-serif font of `size`, roughly and rather too many than too few."""
    total = 0.0
    for character in text:
        if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Cf"):
            continue
        if unicodedata.east_asian_width(character) in ("W", "F"):
            total += 1.0
        elif character in "iIl.,:;'|!()[] ·":
            total += 0.33
        elif character in "mwMW—":
            total += 0.88
        else:
            total += 0.67 if character.isupper() else 0.57
    return total * size


def cut(text: str, characters: int) -> str:
    """The text, with … for what is beyond so many characters."""
    return text if len(text) <= characters else text[: characters - 1] + "…"
