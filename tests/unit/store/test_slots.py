"""Addresses of files, and fingerprints."""

from __future__ import annotations

import pytest

from xlwh.errors import StoreError
from xlwh.store import Slot, fingerprint
from xlwh.tables import TABLES


def test_a_slot_reads_like_its_folder():
    slot = Slot("tokens", ("m", "en"), "xnli")
    assert str(slot) == "tokens/model=m/language=en/xnli"
    assert slot.folder == "tables/tokens/model=m/language=en"
    assert slot.partition == {"model": "m", "language": "en"}
    assert str(Slot("published_results")) == "published_results/all"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("token",), "no table `token`. Tables: examples"),
        (("tokens", ("m",)), "needs model, language"),
        (("published_results", ("m",)), "needs no keys at all"),
        (("tokens", ("m", "../en"), "xnli"), r"`../en` cannot address a file"),
        (("tokens", ("m", ""), "xnli"), "`` cannot address"),
        (("tokens", ("m", "en"), "a/b"), "`a/b` cannot address"),
        (("tokens", ("m", "en"), ".hidden"), "`.hidden` cannot address"),
    ],
)
def test_a_slot_that_cannot_be_a_file_is_refused(arguments, message):
    with pytest.raises(StoreError, match=message):
        Slot(*arguments)


def test_fingerprint_does_not_depend_on_order():
    one = fingerprint("tokens", "1", {"a": 1, "b": (2, 3)}, ["x", "y"])
    other = fingerprint("tokens", "1", {"b": [2, 3], "a": 1}, iter(["y", "x"]))
    assert one == other
    assert len(one) == 32


def test_fingerprint_tells_everything_apart(monkeypatch):
    made = [
        fingerprint("tokens", "1", {"a": 1}, ["x"]),
        fingerprint("predictions", "1", {"a": 1}, ["x"]),
        fingerprint("tokens", "2", {"a": 1}, ["x"]),
        fingerprint("tokens", "1", {"a": 2}, ["x"]),
        fingerprint("tokens", "1", {"a": "1"}, ["x"]),
        fingerprint("tokens", "1", {"a": 1}, ["x", "x"]),
    ]
    monkeypatch.setattr(TABLES["tokens"], "version", 99)
    made.append(fingerprint("tokens", "1", {"a": 1}, ["x"]))
    assert len(set(made)) == len(made)


def test_a_contract_version_of_its_own_outlives_new_columns(monkeypatch):
    before = fingerprint("models", "1", {}, [], contract_version=1)
    monkeypatch.setattr(TABLES["models"], "version", 99)
    assert fingerprint("models", "1", {}, [], contract_version=1) == before
    assert fingerprint("models", "1", {}, []) != before


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"x"])
def test_fingerprint_refuses_what_has_no_stable_text(value):
    with pytest.raises(StoreError, match="`tokens` cannot be fingerprinted"):
        fingerprint("tokens", "1", {"a": value}, [])
