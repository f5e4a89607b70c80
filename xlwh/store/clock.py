"""Times of commits, where the clock that gave them may have been wrong.

Commits are in order by number. Each has the time that the clock showed, which may lie in the future, or before that of
an earlier commit. Such a time is not taken for when the commit was made: that was at some time between its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from xlwh.errors import StoreError

TOLERANCE = timedelta(minutes=1)
"""Clocks of machines that share a warehouse may differ by this much."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A commit and the time that the clock showed."""

    number: int
    told: datetime
    made_at: datetime | None
    """When it was made; None where the clock was wrong: after now, or before an earlier commit."""


def stamps(commits: Sequence[tuple[int, datetime]], now: datetime) -> Iterator[Stamp]:
    """Judge the times of all commits, given in order."""
    latest: datetime | None = None
    for number, told in commits:
        if told > now + TOLERANCE or (latest is not None and told < latest - TOLERANCE):
            yield Stamp(number, told, None)
        else:
            latest = told if latest is None else max(told, latest)
            yield Stamp(number, told, latest)


def commit_at(judged: Sequence[Stamp], moment: datetime, now: datetime) -> int:
    """Number of the commit that was the last one at a moment; 0 before the first.

    `StoreError` where that cannot be told, since the clock was wrong when the next ones were made.
    """
    if moment >= now:
        return judged[-1].number if judged else 0
    found, doubtful = 0, list[Stamp]()
    for stamp in judged:
        if stamp.made_at is None:
            doubtful.append(stamp)
        elif stamp.made_at <= moment:
            found, doubtful = stamp.number, []
        else:
            break
    if doubtful:
        first = doubtful[0]
        raise StoreError(
            f"It cannot be told what was current at {text(moment)}: the clock was wrong when commit {first.number} was "
            f"made (it showed {text(first.told)}). Choose a commit by its number, from {found} to {doubtful[-1].number}."
        )
    return found


def settled(judged: Sequence[Stamp]) -> dict[int, datetime]:
    """Commit -> a time by which it was surely made: its own, or that of the next one with a time that is right.

    A commit after which there is none with a right time is not among them.
    """
    by: dict[int, datetime] = {}
    following: datetime | None = None
    for stamp in reversed(judged):
        following = following if stamp.made_at is None else stamp.made_at
        if following is not None:
            by[stamp.number] = following
    return by


def text(moment: datetime) -> str:
    """A time in UTC, as people write it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def parsed(text: str) -> datetime:
    """A time that is stored. ValueError for what is none."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no time")
    return datetime.fromisoformat(text)


def stored(moment: datetime) -> str:
    """A time as it is stored: of a fixed width, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
