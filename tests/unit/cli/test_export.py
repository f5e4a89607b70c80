"""`xlwh export`: what it prints, and that it names what it leaves out."""

from __future__ import annotations

from xlwh.store import Slot, Warehouse, empty


def test_tables_are_exported_and_what_is_left_out_is_named(xlwh, filled, tmp_path):
    filled.write({Slot("activations", ("m", "en"), "nli"): empty("activations")}, "f" * 32)
    code, out, error = xlwh("export", "iceberg", "exported")
    assert (code, error) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["examples", "2", "2", "0"] in lines
    assert ["activations", "1", "1", "0"] in lines
    assert "Left out: activations.vector, since Iceberg has no type List(Float16)." in out
    head = Warehouse(tmp_path / "warehouse").manifest.head()
    assert f"They show commit {head} of " in out
    filled.drop([entry.slot for entry in filled.entries("activations")])
    code, out, _ = xlwh("export", "iceberg", "exported", "activations")
    assert (code, ["activations", "0", "0", "1"] in [line.split() for line in out.splitlines()]) == (0, True)


def test_an_empty_warehouse(xlwh, tmp_path):
    Warehouse(tmp_path / "warehouse", create=True)
    assert xlwh("export", "iceberg", "exported")[:2] == (0, "Nothing is stored that could be exported.\n")


def test_only_known_formats(xlwh, filled):
    code, _, error = xlwh("export", "delta", "exported")
    assert (code, "'delta' is not 'iceberg'" in error) == (2, True)
