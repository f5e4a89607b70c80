"""A word cloud of a concept, every word in a font of its script."""

from __future__ import annotations

import io
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from xlwh.errors import XlwhError
from xlwh.store.files import write_whole

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

COLOURS = ("#1b6ca8", "#c0392b", "#2e7d32", "#8e44ad", "#b9770e", "#37474f")
WORDS = 60
KINDS = ("png", "svg", "pdf")
"""Formats of its file."""
_SIZES = (11, 46)
"""Smallest and largest letters, points."""

_FAMILIES = {
    "ARABIC": ("Noto Sans Arabic", "Noto Naskh Arabic", "DejaVu Sans"),
    "DEVANAGARI": ("Noto Sans Devanagari", "Lohit Devanagari"),
    "THAI": ("Noto Sans Thai", "Loma", "Garuda"),
    "CJK": (
        "Noto Sans CJK SC",
        "Noto Sans SC",
        "WenQuanYi Zen Hei",
        "Noto Serif CJK SC",
        "Droid Sans Fallback",
    ),
    "HIRAGANA": ("Noto Sans CJK JP", "Noto Sans JP", "IPAGothic"),
    "KATAKANA": ("Noto Sans CJK JP", "Noto Sans JP", "IPAGothic"),
    "HANGUL": ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic"),
    "HEBREW": ("Noto Sans Hebrew", "DejaVu Sans"),
    "BENGALI": ("Noto Sans Bengali",),
    "TAMIL": ("Noto Sans Tamil",),
    "TELUGU": ("Noto Sans Telugu",),
}


def script(word: str) -> str:
    """The script of most of its letters, as Unicode names begin: LATIN, CYRILLIC, CJK, ..."""
    names = [unicodedata.name(letter, "") for letter in word if letter.isalpha()]
    return (
        Counter(name.split(" ")[0] for name in names if name).most_common(1)[0][0] if any(names) else "LATIN"
    )


@cache
def font_of(name: str) -> FontProperties | None:
    """An installed font of a script; None if there is none, so that its words would be empty boxes."""
    from matplotlib.font_manager import FontProperties

    installed = _installed()
    for family in _FAMILIES.get(name, ("Noto Sans", "DejaVu Sans")):
        if family in installed:
            return FontProperties(fname=installed[family])
    return None


@cache
def _installed() -> dict[str, str]:
    """Family -> file of every upright font; matplotlib's own list misses fonts that came after it was made."""
    from matplotlib.font_manager import findSystemFonts, fontManager, get_font

    found = {entry.name: entry.fname for entry in fontManager.ttflist if entry.style == "normal"}
    listed = set(found.values()) | {entry.fname for entry in fontManager.ttflist}
    for path in sorted(findSystemFonts()):
        if path not in listed and path.endswith(("Regular.ttf", "Regular.otf", "Regular.ttc", ".ttc")):
            try:
                found.setdefault(get_font(path).family_name, path)
            except RuntimeError:
                continue  # not a font that FreeType reads
    return found


def draw(words: pl.DataFrame, out: Path, title: str = "") -> list[str]:
    """Draw rows (language, word, occurrences) as a cloud, a colour per language; the file's ending is its format.

    Returns the words that are left out because no installed font has their script. XlwhError for another ending.
    """
    kind = out.suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise XlwhError(
            f"{out}: a cloud is drawn as {', '.join(KINDS)}. End the name of the file with one of them."
        )
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.fonttype"] = "path"
    figure = Figure(figsize=(8, 5), dpi=120)
    canvas = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    languages = sorted(words["language"].unique())
    rows = words.sort(["occurrences", "word"], descending=[True, False]).head(WORDS).to_dicts()
    most = max((row["occurrences"] for row in rows), default=1)
    placed: list[tuple[float, float, float, float]] = []
    missing = []
    width, height = figure.get_size_inches() * figure.dpi
    for row in rows:
        font = font_of(script(row["word"]))
        if font is None:
            missing.append(row["word"])
            continue
        font = font.copy()
        font.set_size(_SIZES[0] + (_SIZES[1] - _SIZES[0]) * (row["occurrences"] / most) ** 0.5)
        colour = COLOURS[languages.index(row["language"]) % len(COLOURS)]
        text = figure.text(0, 0, row["word"], fontproperties=font, color=colour, parse_math=False)
        box = text.get_window_extent(renderer)
        spot = _spot(box.width + 6, box.height + 4, width, height * 0.92, placed)
        if spot is None:
            text.remove()
            continue
        # The text's own corner is not its box's: letters reach below the line.
        text.set_position(((spot[0] - box.x0 + 3) / width, (spot[1] - box.y0 + 2) / height))
        placed.append((spot[0], spot[1], box.width + 6, box.height + 4))
    for number, language in enumerate(languages):
        colour = COLOURS[number % len(COLOURS)]
        figure.text(0.99 - 0.05 * (len(languages) - 1 - number), 0.965, language, color=colour, ha="right")
    figure.text(0.01, 0.965, title, color="#333333", parse_math=False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind)
    write_whole(out, drawn.getvalue())
    return missing


def _spot(
    width: float, height: float, right: float, top: float, placed: list[tuple[float, float, float, float]]
) -> tuple[float, float] | None:
    """Lower left corner of a free place for a box, along a spiral from the middle; None if there is none."""
    from math import cos, sin

    for step in range(2200):
        angle = 0.35 * step
        reach = 2.2 * angle
        x = right / 2 + 1.5 * reach * cos(angle) - width / 2
        y = top / 2 + reach * sin(angle) - height / 2
        if x < 0 or y < 0 or x + width > right or y + height > top:
            continue
        if all(
            x + width <= left or left + w <= x or y + height <= low or low + h <= y
            for left, low, w, h in placed
        ):
            return x, y
    return None
