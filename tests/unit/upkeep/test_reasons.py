"""Why a stored file is not what the study asks for now."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from xlwh.steps.job import RECIPE, Job, ModelUse, Planned
from xlwh.store import Entry, Slot
from xlwh.upkeep.reasons import EARLIER, UNREADABLE, reasons


@dataclass(frozen=True)
class _Inner:
    steps: int = 5


@dataclass(frozen=True)
class _Params:
    draws: int = 3
    method: str | None = "lig"
    inner: _Inner = _Inner()
    passes: tuple[_Inner, ...] = (_Inner(1), _Inner(2))


class _Pin:
    def __init__(self, *identity: str) -> None:
        self.identity = identity
        self.token_identity = identity[1:]


def _entry(part: str, mark: str) -> Entry:
    return Entry(Slot("examples", ("nli", "en"), part), "f", mark, 1, 1, 1, datetime.now(UTC), 1, None)


def _planned(**changes: object) -> Planned:
    job = Job(
        {"tokens": Slot("tokens", ("m", "en"), "nli")},
        _Params(),
        (_entry("dev", "read"),),
        ModelUse("m", _Pin("w", "t", "c", "2"), {"max_length": 64}),
        ("nli.tsv abc",),
    )
    return Planned(replace(job, **changes), "tokens", "1", ("polars",))


NOW = _planned()


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (NOW, []),
        (_planned(params=_Params(draws=20)), ["draws is 3, was 20"]),
        (_planned(params=_Params(inner=_Inner(9))), ["inner.steps is 5, was 9"]),
        (_planned(params=_Params(method=None)), ["method is lig, was not set"]),
        (_planned(params=_Params(passes=(_Inner(1), _Inner(3)))), ["passes[1].steps is 2, was 3"]),
        (
            _planned(params=_Params(20, None, _Inner(9), ())),
            [
                "draws is 3, was 20",
                "method is lig, was not set",
                "inner.steps is 5, was 9",
                "3 more settings changed",
            ],
        ),
        (
            _planned(reads=(_entry("dev", "old"),)),
            ["other rows than then: examples/dataset=nli/language=en/dev"],
        ),
        (_planned(reads=()), ["an input that it did not read: examples/dataset=nli/language=en/dev"]),
        (
            _planned(reads=(_entry("dev", "read"), _entry("a", "1"), _entry("b", "1"))),
            ["no longer an input: 2 files of examples"],
        ),
        (_planned(files=("nli.tsv xyz",)), ["nli.tsv has other content"]),
        (_planned(files=()), ["nli.tsv is read now"]),
        (_planned(files=("nli.tsv abc", "a", "b")), ["what is read has other content"]),
        (_planned(model=None), ["another model, or another part of it, is used"]),
        (
            _planned(model=ModelUse("m", _Pin("other", "t", "c", "2"), {"max_length": 64})),
            ["the model's weights changed"],
        ),
        (
            _planned(model=ModelUse("m", _Pin("w", "t", "c", "2"), {"max_length": 32})),
            ["the model's max_length is 64, was 32"],
        ),
        (replace(NOW, version="0"), ["version 1 of the step gives other rows than version 0"]),
        (replace(NOW, libraries=()), [f"polars is {NOW.recipe['libraries']['polars']}, was not set"]),
    ],
)
def test_each_change_is_named_with_both_values(stored, expected):
    metadata = {RECIPE: json.dumps(stored.recipe)}
    assert reasons(metadata, NOW) == expected
    assert (stored.fingerprint == NOW.fingerprint) == (not expected)


def test_a_contract_and_sub_tokens_alone():
    metadata = json.loads(json.dumps(NOW.recipe)) | {"contracts": {"tokens": 0}}
    version = NOW.recipe["contracts"]["tokens"]
    assert reasons({RECIPE: json.dumps(metadata)}, NOW) == [
        f"the contract of tokens has version {version}, was 0"
    ]
    before, now = (
        _planned(model=ModelUse("m", _Pin("w", tokenizer, "c", "2"), {}, only_tokens=True))
        for tokenizer in "ab"
    )
    assert reasons({RECIPE: json.dumps(before.recipe)}, now) == ["the model's tokenizer changed"]


def test_files_of_earlier_versions_have_no_recipe():
    assert reasons({"xlwh.fingerprint": "f"}, NOW) == [EARLIER]


def test_a_recipe_that_xlwh_did_not_write_is_no_error():
    """Metadata may be anything: what every part of it is exchanged for leaves a reason."""
    sound = json.loads(json.dumps(NOW.recipe))
    texts = ["", "{", "[]", "[" * 100_000, "7", "null", '"x"']
    for part in sound.keys() - {"step"}:
        texts.append(json.dumps({name: value for name, value in sound.items() if name != part}))
        texts += [json.dumps(sound | {part: other}) for other in (7, 1e400, "y", [[]], {"x": [7]}, [7])]
    for text in texts:
        assert reasons({RECIPE: text}, NOW), text
    told = [reasons({RECIPE: text}, NOW) for text in texts]
    assert told.count([UNREADABLE]) > len(texts) // 2
