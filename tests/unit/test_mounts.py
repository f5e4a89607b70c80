"""SQLite's files on file systems of a network: refused, with what to do, or kept on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from xlwh import mounts
from xlwh.cli import main
from xlwh.digests import HashCache
from xlwh.errors import StoreError
from xlwh.mounts import OVERRIDE, local_cache, network_type
from xlwh.steps.history import History, Made
from xlwh.store import Warehouse
from xlwh.store.move import to_postgres
from xlwh.store.postgres import Address

LINE = "{number} 1 0:{number} / {place} rw,relatime shared:1 - {kind} source rw\n"


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """mounted((place, type), …): what the system says is mounted, above an ext4 root."""
    monkeypatch.delenv(OVERRIDE, raising=False)

    def mount(*places: tuple[Path | str, str]) -> None:
        lines = [("/", "ext4"), *places]
        text = "".join(
            LINE.format(number=number, place=str(place).replace(" ", "\\040"), kind=kind)
            for number, (place, kind) in enumerate(lines, 20)
        )
        (tmp_path / "mountinfo").write_text(text)
        monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")
        local_cache.cache_clear()
        HashCache.of.cache_clear()

    yield mount
    local_cache.cache_clear()
    HashCache.of.cache_clear()


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "fuse.juicefs", "fuse.new", "fuse"],
)  # fmt: skip
def test_types_of_a_network(mounted, tmp_path, kind):
    mounted((tmp_path, kind))
    assert network_type(tmp_path / "w" / "deeper") == kind


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuseblk", "apfs"])
def test_types_of_a_disk(mounted, tmp_path, kind):
    mounted((tmp_path, kind))
    assert network_type(tmp_path) is None


def test_the_nearest_and_last_one_counts(mounted, tmp_path, monkeypatch):
    shared, scratch = tmp_path / "my share", tmp_path / "my share" / "scratch"
    mounted((shared, "nfs4"), (scratch, "ext4"), (tmp_path / "my", "lustre"))
    assert network_type(shared / "w") == "nfs4"
    assert network_type(scratch / "w") is None
    assert network_type(tmp_path / "my shares") is None
    # One that is mounted over another hides it.
    mounted((shared, "ext4"), (shared, "cifs"))
    assert network_type(shared) == "cifs"
    scratch.mkdir(parents=True)
    (tmp_path / "link").symlink_to(shared)
    assert network_type(tmp_path / "link" / "w") == "cifs"
    monkeypatch.setenv(OVERRIDE, "1")
    assert network_type(shared) is None
    monkeypatch.delenv(OVERRIDE)
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    assert network_type(shared) is None


def test_an_embedded_manifest_is_refused_there(mounted, tmp_path, monkeypatch, capsys):
    Warehouse(tmp_path / "old", create=True)
    mounted((tmp_path, "nfs4"))
    for name in ("new", "old"):
        with pytest.raises(StoreError) as error:
            Warehouse(tmp_path / name, create=True)
        told = str(error.value)
        assert "of the type nfs4" in told
        assert "xlwh manifest postgresql://" in told
        assert f"{OVERRIDE}=1" in told
    assert not (tmp_path / "new" / "manifest.sqlite").exists()
    assert main(["sql", "--warehouse", str(tmp_path / "old"), "select 1"]) == 1
    assert "of the type nfs4" in capsys.readouterr().err
    monkeypatch.setenv(OVERRIDE, "1")
    assert Warehouse(tmp_path / "new", create=True).manifest.head() == 0


def test_an_embedded_manifest_can_be_moved_away_from_there(mounted, tmp_path, postgres):
    before = Warehouse(tmp_path / "w", create=True).manifest.origin()
    mounted((tmp_path, "nfs4"))
    to_postgres(tmp_path / "w", Address(postgres.url(), "xlwh_from_nfs"))
    assert Warehouse(tmp_path / "w").manifest.origin() == before


def test_one_that_nobody_writes_to_can_be_read_there(mounted, tmp_path, monkeypatch):
    Warehouse(tmp_path / "w", create=True)
    mounted((tmp_path, "nfs4"))
    monkeypatch.setattr("os.access", lambda path, mode, **named: mode != 2)
    assert Warehouse(tmp_path / "w").manifest.head() == 0
    (tmp_path / "w" / "manifest.sqlite-wal").touch()
    with pytest.raises(StoreError, match="of the type nfs4"):
        Warehouse(tmp_path / "w")


def test_caches_stay_on_this_machine(mounted, tmp_path, monkeypatch):
    share, home = tmp_path / "share", tmp_path / "home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    mounted((share, "lustre"))
    assert local_cache(tmp_path / "w") == tmp_path / "w" / "cache"
    found = {local_cache(share / name) for name in ("a", "b", "a")}
    assert {path.parent for path in found} == {home / "xlwh"}
    assert len(found) == 2
    History(share / "a").add([Made("step", "", 1.0, 1.0, {})])
    assert History(share / "a").of_this_machine()[0].step == "step"
    assert not share.exists()
    assert (local_cache(share / "a") / "history.sqlite").is_file()
    mounted((share, "lustre"), (home, "nfs"))
    assert local_cache(share / "a").parent.parent == tmp_path / "tmp"
    assert local_cache(share / "a").parent.stat().st_mode & 0o77 == 0
