"""Why a stored file is not what the study asks for now: its recipe beside the one that is planned."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xlwh.errors import MissingDataError, XlwhError
from xlwh.steps.base import Key
from xlwh.steps.job import RECIPE, Planned, recipe_of
from xlwh.steps.plan import Step
from xlwh.steps.planning import NotApplicable
from xlwh.store import Entry
from xlwh.store.parquet import metadata_of
from xlwh.store.reading import source
from xlwh.upkeep.scope import entries_of

if TYPE_CHECKING:
    from xlwh.steps.planning import Planner

UNREADABLE = "what its file says of its making cannot be read"
EARLIER = "made by an earlier version of xlwh, which noted less of what files depend on"
INPUTS = "what they are made from is out of date"
GONE = "files are gone, were cut short or cannot be read"
OTHER = "the file does not say what it was made from"

_LONGEST = 60
"""Characters of a value that are shown."""
_MOST = 3
"""Settings that are shown."""
_DIGEST = "making.digest"
_MODEL = ("weights", "tokenizer", "configuration", "tokenization")


def reasons(
    metadata: Mapping[str, str], planned: Planned, without: Collection[str] = frozenset()
) -> list[str]:
    """What differs between a file, by its metadata, and a planned job; empty where nothing does.

    `without` are parts of the recipe (model, inputs, files) that are not looked at.
    """
    try:
        told = recipe_of(metadata)
    except ValueError:
        return [UNREADABLE]
    if told is None:
        return [EARLIER]
    stored = told.model_dump()
    now = json.loads(json.dumps(planned.recipe, sort_keys=True))
    for part in without:
        kept = part == "model" and stored[part] is not None and now[part] is not None
        # Its options are the study's, whatever becomes of its files.
        now[part] = [*stored[part][:-1], now[part][-1]] if kept else stored[part]
    return list(_differences(stored, now))


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if stored["version"] != now["version"]:
        yield f"version {now['version']} of the step gives other rows than version {stored['version']}"
    for table, old, new in _changed(stored["contracts"], now["contracts"]):
        yield f"the contract of {table} has version {_shown(new)}, was {_shown(old)}"
    for package, old, new in _changed(stored["libraries"], now["libraries"]):
        yield f"{package} is {_shown(new)}, was {_shown(old)}"
    settings = list(_changed(_flat(stored["params"]), _flat(now["params"])))
    # A digest of settings says nothing beside them.
    settings = [each for each in settings if each[0] != _DIGEST] or settings
    for name, old, new in settings[:_MOST]:
        yield f"{name} is {_shown(new)}, was {_shown(old)}"
    if len(settings) > _MOST:
        yield f"{len(settings) - _MOST} more settings changed"
    yield from _of_model(stored["model"], now["model"])
    yield from _of_inputs(stored["inputs"], now["inputs"])
    yield from _of_files(stored["files"], now["files"])


def _of_model(stored: Sequence[Any] | None, now: Sequence[Any] | None) -> Iterator[str]:
    if stored is None or now is None or len(stored) != len(now):
        if stored != now:
            yield "another model, or another part of it, is used"
        return
    *old_hashes, old_options = stored
    *new_hashes, new_options = now
    # Of what only needs sub-tokens the weights are left out.
    for name, old, new in zip(_MODEL[-len(new_hashes) :], old_hashes, new_hashes, strict=True):
        if old != new:
            yield f"the model's {name} changed"
    for name, old, new in _changed(_flat(old_options), _flat(new_options)):
        yield f"the model's {name} is {_shown(new)}, was {_shown(old)}"


def _of_files(stored: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    """Of those without a name (rows of a dataset, a model's files) only that they are others."""
    if {text for text in stored if " " not in text} != {text for text in now if " " not in text}:
        yield "what is read has other content"
    named = (_by_name([text for text in texts if " " in text]) for texts in (stored, now))
    for name, old, new in _changed(*named):
        yield f"{name} {'is read no more' if new is None else 'is read now' if old is None else 'has other content'}"


def _of_inputs(stored: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    old, new = _by_name(stored), _by_name(now)
    for what, slots in (
        ("other rows than then", [slot for slot in new if slot in old and old[slot] != new[slot]]),
        ("an input that it did not read", [slot for slot in new if slot not in old]),
        ("no longer an input", [slot for slot in old if slot not in new]),
    ):
        tables = dict.fromkeys(slot.partition("/")[0] for slot in slots)
        if len(slots) == 1:
            yield f"{what}: {slots[0]}"
        elif slots:
            yield f"{what}: {len(slots)} files of {', '.join(tables)}"


def _by_name(listed: Sequence[str]) -> dict[str, str]:
    """Names -> what follows the last blank of each."""
    return {name: mark for name, _, mark in (text.rpartition(" ") for text in listed)}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings, also in lists, as one, with dotted names."""
    if isinstance(value, Mapping):
        parts = [(f"{name}.{key}" if name else key, each) for key, each in value.items()]
    elif isinstance(value, list) and any(isinstance(each, Mapping | list) for each in value):
        parts = [(f"{name}[{number}]", each) for number, each in enumerate(value)]
    else:
        return {name or "the parameters": value}
    found: dict[str, Any] = {}
    for key, each in parts:
        found |= _flat(each, key)
    return found


def _changed(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(name, old, new) of what differs; None where it is not there."""
    for name in dict.fromkeys((*stored, *now)):
        old, new = stored.get(name), now.get(name)
        if old != new:
            yield name, old, new


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]} …"


def told(planner: Planner, todo: Mapping[Step, Collection[Key]]) -> list[str]:
    """A line per reason why something that is stored is not up to date, with the partitions that it holds for."""
    planner.refresh()
    found: dict[str, dict[str, int]] = {}
    for step, keys in todo.items():
        for key in keys:
            if why := "; ".join(why_stale(planner, step, key)):
                counts = found.setdefault(why, {})
                counts[step.name] = counts.get(step.name, 0) + 1
    return listed(found)


def listed(found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A line per reason, from the numbers of partitions that it holds for by step."""
    lines = []
    for why, counts in found.items():
        (first, number), *others = counts.items()
        listed = [f"{number} partition{'s' * (number > 1)} of {first}"]
        listed += [f"{count} of {step}" for step, count in others]
        # What is made anew can come out as it was.
        lines.append(f"{'May' if why == INPUTS else 'Will'} be made anew: {', '.join(listed)}: {why}")
    return lines


def why_stale(planner: Planner, step: Step, key: Key) -> list[str]:
    """Why what is stored of a partition is not what the study asks for; empty where nothing is stored, or all is fresh."""
    try:
        jobs = planner.jobs(step, key)
    except MissingDataError:
        stored = entries_of(planner, step, [key])
        if not stored:
            return []
        told = [_metadata(planner, entry) for entry in stored]
        return [INPUTS if all(each is None or RECIPE in each for each in told) else EARLIER]
    except (NotApplicable, XlwhError):
        # What is wrong with the study or its files is said by the run.
        return []
    found: dict[str, None] = {}
    for planned in jobs:
        if planner.is_fresh(planned):
            continue
        for metadata in _stored(planner, planned):
            # Planned without an input that is still to be made: it would seem to be asked for no more.
            waits = metadata is not None and RECIPE in metadata and planner.lacks_inputs(step, key)
            found |= dict.fromkeys([INPUTS] if waits else _why(metadata, planned) or [OTHER])
    return list(found)


def why_made(
    planner: Planner, jobs: Sequence[Planned], anew: Callable[[Planned], Collection[str]]
) -> list[str]:
    """The same of jobs that are to be made; `anew` are the parts of a job's recipe that this very run makes anew."""
    found: dict[str, None] = {}
    for planned in jobs:
        left_out = anew(planned)
        for metadata in _stored(planner, planned):
            found |= dict.fromkeys(_why(metadata, planned, left_out) or [INPUTS if left_out else OTHER])
    own = [why for why in found if why != INPUTS]
    return own or list(found)


def _stored(planner: Planner, planned: Planned) -> Iterator[dict[str, str] | None]:
    """What the stored files of a job say of themselves; None for one that is not all there, or cannot be read."""
    for slot in planned.job.slots.values():
        entry = planner.entry(slot)
        if entry is not None:
            yield None if entry.fingerprint == planned.fingerprint else _metadata(planner, entry)


def _why(metadata: Mapping[str, str] | None, planned: Planned, left_out: Collection[str] = ()) -> list[str]:
    return [GONE] if metadata is None else reasons(metadata, planned, left_out)


def _metadata(planner: Planner, entry: Entry) -> dict[str, str] | None:
    return metadata_of(source(planner.warehouse.root, entry))
