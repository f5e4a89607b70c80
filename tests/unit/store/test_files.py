"""Durable files: all there under their name, or not there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from circumstances import another_user

import xlwh
from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.store.files import files_in, make_folder, remove, remove_folder, replacing, write_whole
from xlwh.store.parquet import write_parquet

PACKAGE = Path(xlwh.__file__).parent
FRAME = pl.DataFrame({"a": [1, 2, 3]})


def test_parquet_with_metadata(tmp_path):
    path = tmp_path / "a.parquet"
    written = write_parquet(FRAME, path, {"xlwh.table": "t", "weights": "é"})
    assert (written.size_bytes, written.digest) == (path.stat().st_size, sha256([path]))
    assert pl.read_parquet(path).equals(FRAME)
    metadata = pl.read_parquet_metadata(path)
    assert (metadata["xlwh.table"], metadata["weights"]) == ("t", "é")
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_a_lazy_frame_is_streamed_in_order(tmp_path):
    frame = pl.DataFrame({"a": range(1000)})
    write_parquet(frame.lazy(), tmp_path / "a.parquet", {"k": "v"})
    assert pl.read_parquet(tmp_path / "a.parquet").equals(frame)
    assert pl.read_parquet_metadata(tmp_path / "a.parquet")["k"] == "v"


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(StoreError, match=r"a\.parquet cannot be written"):
        write_parquet(FRAME, tmp_path / "missing" / "a.parquet", {})
    failing = FRAME.lazy().select(pl.col("a").map_elements(_fail, return_dtype=pl.Int64))
    with pytest.raises(Exception, match="no such luck"):
        write_parquet(failing, tmp_path / "a.parquet", {})
    assert list(tmp_path.iterdir()) == []


def _fail(value: int) -> int:
    raise ValueError("no such luck")


def test_a_row_group_holds_a_quarter_of_a_million_rows(tmp_path):
    import pyarrow.parquet as pq

    write_parquet(pl.DataFrame({"a": pl.int_range(600_000, eager=True)}), tmp_path / "a.parquet", {})
    found = pq.read_metadata(tmp_path / "a.parquet")
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == [262_144, 262_144, 75_712]
    column = found.row_group(1).column(0)
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == (262_144, 524_287)


def test_folders(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "file").write_text("x")
    remove_folder(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    remove_folder(tmp_path / "a")  # another process was quicker
    remove(tmp_path / "a")


def test_what_another_process_removes_at_the_same_time(tmp_path, monkeypatch):
    for name in ("a/one", "a/b/two", "a/b/three"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = files_in(tmp_path)
    first, status = next(found)
    assert status.st_size == 1
    for other in {tmp_path / name for name in ("a/one", "a/b/two")} - {first}:
        other.unlink()
    assert len(list(found)) in (0, 1)
    assert list(files_in(tmp_path / "gone")) == []
    [(alone, _)] = files_in(tmp_path / "a" / "b" / "three")
    assert alone.name == "three"
    rmtree, calls = shutil.rmtree, []

    def interfered(path):
        calls.append(path)
        if len(calls) == 1:
            (tmp_path / "a" / "b" / "three").unlink()
            raise FileNotFoundError(path)
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", interfered)
    remove(tmp_path / "a")
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_killed_write_leaves_nothing(tmp_path):
    file = tmp_path / "f"

    def write():
        with replacing(file) as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_with_its_mode_and_a_link_stays_one(tmp_path):
    file, link = tmp_path / "below" / "f", tmp_path / "link"
    assert write_whole(file, b"one") == 3
    file.chmod(0o600)
    link.symlink_to(file)
    assert write_whole(link, b"other") == 5
    assert link.is_symlink()
    assert file.read_bytes() == b"other"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["f"]


def test_what_may_be_written_is_asked_with_all_rights_that_a_process_has(tmp_path):
    """A right besides the user's own, as containers give: here to go through a folder that is closed to others."""
    if (starting := another_user()) is None:
        pytest.skip("needs setpriv and the right to become another user")
    closed, mine = tmp_path / "closed", tmp_path / "closed" / "mine"
    mine.mkdir(parents=True)
    closed.chmod(0o700)
    mine.chmod(0o777)
    program = (
        f"from pathlib import Path; from xlwh.store.files import may_write; import os; mine = Path({str(mine)!r}); "
        "(mine / 'file').write_text('here'); print(may_write(mine), may_write(mine.parent))"
    )
    ran = subprocess.run([*starting, sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "True False\n", ran.stderr


def test_nobody_asks_in_another_way():
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"os\.access\(", path.read_text(encoding="utf-8"))
    }
    assert asking == {"store/files.py"}
