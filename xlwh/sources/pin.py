"""Pinning: from hub ids of a study to commits, written into its file with comments and layout kept."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xlwh.errors import CorpusError, SourceError, StudyError, UnreachableError, XlwhError
from xlwh.place import Kind
from xlwh.sources import hub
from xlwh.study import Study
from xlwh.study.lines import explain

_SECTIONS: dict[str, Kind] = {"models": "model", "datasets": "dataset"}
_NO_COMMIT = "0" * 40
BRANCH = "main"
"""Of an id without a revision; what is written is its commit."""


@dataclass
class Pinned:
    """One model or dataset of the study, and what the hub says of it."""

    section: str
    key: str
    repository: str
    old: str | None
    """What the study says: a commit, a branch, a tag, a pull request, or nothing."""
    new: str | None = None
    """The commit; None where none could be found that can be used."""
    described: hub.Described | None = None
    size: int | None = None
    """Bytes of the files that the study needs of it."""
    has_safetensors: bool | None = None
    """None for a dataset."""
    notes: list[str] = field(default_factory=list)
    error: str = ""

    @property
    def place(self) -> str:
        """Dotted key of the study: models.bert."""
        return f"{self.section}.{self.key}"

    @property
    def kind(self) -> Kind:
        return _SECTIONS[self.section]

    @property
    def is_changed(self) -> bool:
        """Whether a commit is to be written."""
        return self.new is not None and self.new != self.old


def pin(file: Path, renew: bool = False, progress: Callable[[str], None] = lambda text: None) -> list[Pinned]:
    """Ask the hub for the commit of every id of a study. Ids with a commit keep it, unless `renew`.

    What is wrong with one id is its error; where the hub cannot be reached, that is the error of all ids that are left,
    and they are not asked. StudyError where the study has other faults than missing revisions.
    """
    raw = _raw(file)
    found = list(_named(raw))
    study = _study(file, raw)
    # Asked once: what one repository serves is pinned to one commit, also while another is pushed.
    described = cache(hub.describe)
    for number, each in enumerate(found):
        progress(f"{each.kind} {each.repository}")
        try:
            _ask(each, study, renew, described)
        except CorpusError as error:
            each.new, each.error = None, f"{error} Its commit was not written; then run: xlwh pin"
        except UnreachableError as error:
            for unasked in found[number:]:
                unasked.new, unasked.error = None, str(error)
            break
        except XlwhError as error:
            each.new, each.error = None, str(error)
    return found


def write(file: Path, pins: list[Pinned]) -> int:
    """Write new commits into a study's file, and nothing else; how many were written."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    from xlwh.store.files import write_whole

    changed = [each for each in pins if each.is_changed]
    if not changed:
        return 0
    by_hand = (
        f"{file}: the revisions cannot be written without changing something else. Write them by hand: "
        + "; ".join(f'{each.place}: revision = "{each.new}"' for each in changed)
    )
    mark, text = _split_mark(file.read_bytes().decode("utf-8"))
    try:
        document, expected = tomlkit.parse(text), tomllib.loads(text)
    except (TOMLKitError, tomllib.TOMLDecodeError):
        # Such as lines that end as on old Macs, which other readers of the file let pass.
        raise StudyError(by_hand) from None
    for each in changed:
        table: Any = document[each.section][each.key]
        if "revision" in table:
            table["revision"] = each.new
        else:
            _insert(table, each.new)
        expected[each.section][each.key]["revision"] = each.new
    written = tomlkit.dumps(document)
    if text.count("\n") == text.count("\r\n"):
        # A line that is put in ends as the others do.
        written = written.replace("\r\n", "\n").replace("\n", "\r\n")
    if tomllib.loads(written) != expected:
        raise StudyError(by_hand)
    write_whole(file, (mark + written).encode())
    return len(changed)


def _split_mark(text: str) -> tuple[str, str]:
    """The byte order mark that a file begins with, if it has one, and the rest."""
    rest = text.removeprefix("\ufeff")
    return text[: len(text) - len(rest)], rest


def _insert(table: Any, revision: str | None) -> None:
    """Put a revision behind `hub`."""
    from tomlkit.items import InlineTable, Table

    if isinstance(table, Table) and not isinstance(table, InlineTable):
        # Appended, it would stand behind the comments of what comes next.
        table.value._insert_after("hub", "revision", revision)
    else:
        table["revision"] = revision


def _raw(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise StudyError(f"No study file {file}. Make one with: xlwh init") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"Study file {file} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{file}: not valid TOML: {error}") from None


def _named(raw: dict[str, Any]) -> Iterator[Pinned]:
    for section in _SECTIONS:
        entries = raw.get(section)
        for key, entry in entries.items() if isinstance(entries, dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("hub"), str):
                yield Pinned(section, key, entry["hub"], entry.get("revision") or None)


def _study(file: Path, raw: dict[str, Any]) -> Study:
    """The study with a stand-in for every commit that is still to be found."""
    filled = {**raw}
    for section in _SECTIONS:
        entries = raw.get(section)
        if isinstance(entries, dict):
            filled[section] = {
                key: {**entry, "revision": _NO_COMMIT}
                if isinstance(entry, dict) and "hub" in entry and isinstance(entry.get("revision", ""), str)
                else entry
                for key, entry in entries.items()
            }
    try:
        return Study.model_validate({**filled, "folder": file.resolve().parent})
    except ValidationError as error:
        raise StudyError(explain(Study, file, file.read_text(encoding="utf-8"), error)) from None


def _ask(each: Pinned, study: Study, renew: bool, described: Callable[..., hub.Described]) -> None:
    is_pinned = each.old is not None and hub.is_commit(each.old)
    # Commits are written in small letters, whoever wrote this one.
    old = each.old.lower() if each.old is not None and is_pinned else each.old
    revision = BRANCH if old is None or (is_pinned and renew) else old
    found = described(each.kind, each.repository, revision, hub.PIN)
    each.described, each.new = found, found.commit
    if not is_pinned:
        each.notes.append(f"{revision} stands at {found.commit[:12]}.")
    if found.is_renamed:
        each.notes.append(f'is called {found.id} today: write `hub = "{found.id}"`.')
    if found.gated:
        each.notes.append(
            "is gated: accept its terms on its page, and log in with `hf auth login` before xlwh fetch."
        )
    if each.kind == "model":
        _look_at_model(each, found)
    else:
        _look_at_dataset(each, found, study)


def _look_at_model(each: Pinned, found: hub.Described) -> None:
    from xlwh.models.hub import has_safetensors, loaded

    each.size = found.size(loaded(found.names))
    each.has_safetensors = has_safetensors(found.names)
    if each.has_safetensors:
        return
    others = list(hub.conversions(each.repository))
    if not others:
        raise SourceError(
            f"{each.repository} at {found.commit} has no safetensors, and none of its pull requests adds them. Convert it once where "
            "you trust it (`model.save_pretrained(folder)`), and name that folder as `path`."
        )
    listed = "; ".join(f"{ref} (commit {commit})" for ref, commit in others[:3])
    raise SourceError(
        f"{each.repository} at {found.commit} has no safetensors, and no other weights are loaded. A pull request adds them: "
        f'{listed}. See who made it; to take it: `revision = "{others[0][0]}"` under [{each.place}], and xlwh pin again.'
    )


def _look_at_dataset(each: Pinned, found: hub.Described, study: Study) -> None:
    """The size of what is read, as far as names tell it: where the card has to be read, that is seen by a fetch."""
    from xlwh.corpora.hub import needed
    from xlwh.corpora.hub_layout import CARD, Layout, card_in
    from xlwh.corpora.registry import request_of

    if found.gated:
        return
    card: Mapping[str, Any] = {}
    if CARD in found.names:
        card = card_in(hub.bring("dataset", each.repository, found.commit, [CARD], hub.PIN))
    dataset = study.datasets[each.key].model_copy(update={"revision": found.commit})
    study = study.model_copy(update={"datasets": {**study.datasets, each.key: dataset}})
    names: set[str] = set()
    for language in study.dataset_languages(each.key):
        names.update(needed(Layout(found.names, card), request_of(study, each.key, language)))
    each.size = found.size(sorted(names))
