"""What is taken from another warehouse, and what is refused: whatever somebody put into it, nothing else gets here."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse, gc, metrics, schema
from xlwh.store.artefacts import faults
from xlwh.store.checkpoints import CHECKPOINT, checkpoint
from xlwh.store.integrity import faults as file_faults
from xlwh.store.manifest import ConflictError
from xlwh.store.take import take

MARK, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
EN, DE = Slot("predictions", ("m", "en"), "xnli"), Slot("predictions", ("m", "de"), "xnli")
ROW = Slot("models", ("m",))
CHECKPOINT_NAME = "a" * 16
FOLDER = f"models/m/{CHECKPOINT_NAME}"
WEIGHTS = f"{FOLDER}/model.safetensors"
TABLES_ALONE = ("models", "predictions")


def models_row(weights: Path) -> pl.DataFrame:
    """The row of a model that was fine-tuned."""
    values = dict.fromkeys(schema("models")) | {
        "model": "m", "kind": "finetuned", "source": "base", "family": "bert", "weight_hash": sha256([weights]),
        "tokenizer_hash": "0" * 64, "num_layers": 1, "num_heads": 1, "hidden_size": 1, "vocab_size": 1,
        "num_parameters": 1, "dtype": "float32",
    }  # fmt: skip
    return pl.DataFrame([values], schema=schema("models"))


def mean(warehouse: Warehouse) -> pl.LazyFrame:
    """How many predictions there are."""
    return warehouse.scan("predictions").select(n=pl.len())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, frames: Any) -> Path:
    """A warehouse with predictions in two languages, a fine-tuned model, a metric's result and SQL of its own."""
    root = tmp_path_factory.mktemp("source")
    there = Warehouse(root / "there", create=True)
    folder = there.root / FOLDER
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "template").write_text("text")
    found = checkpoint(there.root, "m", folder, there.hashes)
    there.write({ROW: models_row(folder / "model.safetensors")}, MARK, {CHECKPOINT: CHECKPOINT_NAME}, [found])
    for slot, examples in ((EN, 3), (DE, 2)):
        rows = frames.predictions(examples=examples, language=slot.keys[1])
        there.write({slot: rows}, MARK, {"xlwh.reader": "r"})
    (root / "sql").mkdir()
    (root / "sql" / "mine.sql").write_text("select count(*) as n from predictions")
    there.adopt_sql(root / "sql")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EntryPoint, "load", lambda entry: mean)
        patch.setattr(metrics, "entry_points", lambda group: [EntryPoint("counted", "a:b", group)])
        there.compute_metrics()
    return there.root


@pytest.fixture
def there(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "there"))


@pytest.fixture
def here(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "here", create=True)


def state(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below a folder: names, modes, times and bytes."""
    found = {}
    for path in sorted(root.rglob("*")):
        seen = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (seen.st_mode, seen.st_mtime_ns, seen.st_size, content)
    return found


def assert_sound(warehouse: Warehouse) -> None:
    """All that the manifest names is there, with its bytes, and nothing else is in the places of files."""
    artefacts = warehouse.manifest.artefacts().values()
    assert [fault for each in artefacts for fault in faults(warehouse.root, each, deep=True)] == []
    assert [
        fault for each in warehouse.entries() for fault in file_faults(warehouse.root, each, deep=True)
    ] == []
    named = set(warehouse.manifest.files())
    places = [path for place in ("tables", "models", "sql") for path in (warehouse.root / place).rglob("*")]
    assert {path.relative_to(warehouse.root).as_posix() for path in places if path.is_file()} <= named
    assert all(path.is_file() or path.is_dir() for path in places)
    stored = [path for path in places if path.suffix == ".parquet"]
    assert not [path for path in stored if path.stat().st_mode & 0o222], (
        "stored files are not written to again"
    )


def test_gc_takes_nothing_of_what_is_being_taken(there, warehouse, monkeypatch):
    """However long it takes from the first file in its place to the commit."""
    genuine = warehouse.manifest.commit

    def commit(*arguments, **options):
        for path in warehouse.root.rglob("*"):
            os.utime(path, (time.time() - 1e6,) * 2)
        warehouse.gc(timedelta(0))
        return genuine(*arguments, **options)

    monkeypatch.setattr(warehouse.manifest, "commit", commit)
    monkeypatch.setattr(gc, "_beginning", lambda *_: datetime.min.replace(tzinfo=UTC))
    assert take(warehouse, there).entries
    assert not [each for each in warehouse.check(deep=True) if each.kind != "stale_catalogue"]


def test_everything_comes_in_one_commit_and_nothing_is_written_there(here, there):
    before, calls = state(there), list[tuple[int, int]]()
    taken = take(here, there, progress=lambda *bytes_: calls.append(bytes_))
    assert state(there) == before
    assert taken.refused == []
    assert [entry.slot for entry in taken.entries] == [ROW, DE, EN]
    assert {artefact.address for artefact in taken.artefacts} == {
        ("model", "m"),
        ("sql", "mine"),
        ("metric", "counted"),
    }
    assert here.manifest.head() == 1
    # The same bytes, as the other manifest has them.
    other = Warehouse(there)
    for entry in taken.entries:
        mine = other.current(entry.slot)
        assert (entry.fingerprint, entry.digest, entry.rows) == (mine.fingerprint, mine.digest, mine.rows)
        assert sha256([here.root / entry.file]) == entry.digest
    assert here.manifest.artefacts() == other.manifest.artefacts()
    assert all(artefact.is_whole(here.root) for artefact in here.manifest.artefacts().values())
    assert [path.name for path in (here.root / "staging" / "take").iterdir()] == ["lock"]
    here.build_catalogue()
    assert here.check() == []
    with here.connect() as database:
        assert database.execute("select n from mine").fetchall() == [(5,)]
        assert database.execute("select n from counted").fetchall() == [(5,)]
    done, total = calls[-1]
    assert done > 0
    assert total >= done
    again = take(here, there)
    assert (again.entries, again.artefacts, again.same) == ([], [], [ROW, DE, EN])
    assert here.manifest.head() == 1


def test_what_is_here_under_another_fingerprint_stays(here, there, frames):
    [mine] = here.write({DE: frames.predictions(examples=1, language="de")}, OTHER)
    taken = take(here, there, ["predictions"])
    assert ([entry.slot for entry in taken.entries], taken.kept) == ([EN], [DE])
    assert here.current(DE) == mine


def test_what_is_lost_here_comes_again(here, there):
    take(here, there, TABLES_ALONE)
    (here.root / here.current(DE).file).unlink()
    (here.root / WEIGHTS).write_bytes(b"w")
    taken = take(here, there, TABLES_ALONE)
    assert [entry.slot for entry in taken.entries] == [ROW, DE]
    assert_sound(here)


def test_what_is_out_of_scope_there_is_left_there(here, there):
    other = Warehouse(there)
    other.manifest.set_scope([other.current(DE)])
    taken = take(here, there, ["predictions"])
    assert ([entry.slot for entry in taken.entries], taken.hidden) == ([EN], [DE])


def test_a_read_only_warehouse_and_one_that_is_written_to(here, there, frames):
    """With commits that are still in the log, which no reader there has moved to the manifest."""
    with sqlite3.connect(there / "manifest.sqlite") as writer:
        writer.execute("select * from versions").fetchall()
        slot = Slot("predictions", ("m", "fr"), "xnli")
        Warehouse(there).write({slot: frames.predictions(language="fr")}, MARK)
        assert (there / "manifest.sqlite-wal").stat().st_size
        for path in (there, *there.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
        before = state(there)
        assert len(take(here, there, ["predictions"]).entries) == 3
        assert state(there) == before
    writer.close()
    for path in (there, *there.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)


def test_stopped_in_the_middle_it_goes_on_with_what_it_has(here, there, monkeypatch):
    from xlwh.store.foreign import Foreign

    genuine, copied = Foreign.copy, list[str]()

    def stopped(self, file, *rest):
        if "language=en" in file:
            raise KeyboardInterrupt
        copied.append(file)
        return genuine(self, file, *rest)

    monkeypatch.setattr(Foreign, "copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        take(here, there, TABLES_ALONE)
    assert here.entries() == []
    assert here.manifest.head() == 0
    first = [file for file in copied if "manifest" not in file]
    assert len(first) == 5
    copied.clear()
    assert here.gc(timedelta(0)).removed == ()
    monkeypatch.setattr(
        Foreign, "copy", lambda self, file, *rest: copied.append(file) or genuine(self, file, *rest)
    )
    assert len(take(here, there, TABLES_ALONE).entries) == 3
    assert [file for file in copied if "manifest" not in file] == [Warehouse(there).current(EN).file]
    assert_sound(here)


def test_copies_that_nobody_comes_back_for_are_collected(here, there, made_long_ago, monkeypatch):
    monkeypatch.setattr(
        "xlwh.store.take._Taking._commit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        take(here, there, TABLES_ALONE)
    for path in (here.root / "staging").rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    assert len(made_long_ago(here).gc(timedelta(0)).removed) == 4
    assert [path.name for path in (here.root / "staging" / "take").iterdir()] == ["lock"]


def test_a_copy_that_was_damaged_while_it_waited_is_made_again(here, there, monkeypatch):
    monkeypatch.setattr(here.manifest, "commit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr("xlwh.store.take.publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        take(here, there, TABLES_ALONE)
    monkeypatch.undo()
    for copy in (here.root / "staging" / "take").rglob("*"):
        if copy.is_file() and copy.name != "lock":
            copy.write_bytes(b"x")
    taken = take(here, there, TABLES_ALONE)
    assert (len(taken.entries), taken.refused) == (3, [])


def test_a_slot_that_another_run_fills_meanwhile_is_a_conflict(here, there, frames, monkeypatch):
    genuine = here.manifest.commit

    def commit(*arguments, **more):
        monkeypatch.setattr(here.manifest, "commit", genuine)
        here.write({DE: frames.predictions(language="de")}, OTHER)
        return genuine(*arguments, **more)

    monkeypatch.setattr(here.manifest, "commit", commit)
    with pytest.raises(ConflictError, match="was changed by another process"):
        take(here, there, TABLES_ALONE)
    assert [entry.fingerprint for entry in here.entries()] == [OTHER]
    assert len(list((here.root / "tables").rglob("*.parquet"))) == 1


def test_a_full_disk_is_told_before_anything_is_copied(here, there, monkeypatch):
    free = shutil.disk_usage(here.root)._replace(free=1_000)
    monkeypatch.setattr("xlwh.store.take.shutil.disk_usage", lambda _: free)
    with pytest.raises(StoreError, match=r"are to be taken from .*, and only 1\.0 kB are free"):
        take(here, there)
    assert here.manifest.head() == 0


def without_digests(root: Path) -> None:
    """As an earlier version of xlwh left it."""
    with sqlite3.connect(root / "manifest.sqlite") as connection:
        connection.execute("alter table versions drop column digest")
        connection.execute("drop table artefacts")


def test_a_warehouse_from_before_is_verified_by_decoding(here, there):
    without_digests(there)
    taken = take(here, there)
    assert (len(taken.entries), len(taken.artefacts), taken.refused) == (3, 3, [])
    assert here.current(DE).digest == sha256([here.root / here.current(DE).file])
    assert here.manifest.artefacts()["model", "m"].is_whole(here.root)


def test_a_forged_checkpoint_of_before_is_found_by_its_weights(here, there):
    without_digests(there)
    (there / WEIGHTS).write_bytes(b"others")
    taken = take(here, there, ["models"])
    assert (taken.entries, taken.artefacts) == ([], [])
    assert "other weights than its row says" in taken.refused[0].reason


def test_a_model_with_the_weights_of_another_has_no_checkpoint_to_be_taken(here, there):
    warehouse = Warehouse(there)
    row = models_row(there / WEIGHTS).with_columns(model=pl.lit("twin"), weights_of=pl.lit("m"))
    twin = Slot("models", ("twin",))
    warehouse.write({twin: row}, MARK)
    taken = take(here, there, ["models"])
    assert (taken.refused, [entry.slot for entry in taken.entries]) == ([], [ROW, twin])
    assert [each.name for each in taken.artefacts] == ["m"]
    assert_sound(here)


@dataclass(frozen=True)
class There:
    """What a hostile case changes."""

    root: Path

    def sql(self, *statements: str) -> None:
        connection = sqlite3.connect(self.root / "manifest.sqlite", isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    def row(self, **values: object) -> None:
        """Change the German predictions in the manifest."""
        self._update("versions", "keys like '%\"de\"]'", values)

    def weights(self, **values: object) -> None:
        """Change the weights in the manifest."""
        self._update("artefacts", "file like '%safetensors'", values)

    def _update(self, table: str, where: str, values: Mapping[str, object]) -> None:
        connection = sqlite3.connect(self.root / "manifest.sqlite", isolation_level=None)
        columns = ", ".join(f"{name} = ?" for name in values)
        connection.execute(
            f"update {table} set {columns} where valid_to is null and {where}", [*values.values()]
        )
        connection.close()

    @property
    def file(self) -> Path:
        """The German predictions."""
        [found] = self.root.glob("tables/predictions/*/language=de/*.parquet")
        return found

    def rewrite(
        self, change: Callable[[pl.DataFrame], pl.DataFrame], admitted: bool = False, **said: str
    ) -> None:
        """Other rows or metadata in the file; `admitted`: its size and digest are in the manifest."""
        metadata = {k: v for k, v in pl.read_parquet_metadata(self.file).items() if k.startswith("xlwh")}
        change(pl.read_parquet(self.file, hive_partitioning=False)).write_parquet(
            self.file, metadata={**metadata, **said}
        )
        if admitted:
            self.admit()

    def admit(self) -> None:
        self.row(size_bytes=self.file.stat().st_size, digest=sha256([self.file]))

    def replaced(self, make: Callable[[Path], object], file: str | None = None) -> None:
        path = self.file if file is None else self.root / file
        path.unlink()
        make(path)


def flipped(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def folder_is_link(there: There, folder: Path) -> None:
    away = there.root / "away"
    folder.rename(away)
    folder.symlink_to(away)


ROWS: dict[str, tuple[Callable[[There], object], str]] = {
    "path up": (lambda t: t.row(file="../../../../../../etc/passwd"), "its file is to lie in tables/predictions"),
    "path up from its folder": (lambda t: t.row(file="tables/predictions/model=m/language=de/../../x.parquet"), "is to lie in"),
    "absolute path": (lambda t: t.row(file="/etc/passwd"), "its file is to lie in"),
    "absolute path of a sound file": (lambda t: t.row(file=str(t.file)), "its file is to lie in"),
    "file of another slot": (lambda t: t.row(file=next(t.root.glob("tables/predictions/*/language=en/*")).relative_to(t.root).as_posix() + "x"), "is to lie in"),
    "file of an artefact": (lambda t: t.row(file=WEIGHTS), "its file is to lie in"),
    "no path": (lambda t: t.row(file=b"\xff\x00"), "something else than a name"),
    "NUL in the path": (lambda t: t.row(file="tables/predictions/model=m/language=de/a\0.parquet"), "is to lie in"),
    "keys up": (lambda t: t.row(keys='["..", "de"]'), "cannot address a file"),
    "keys up far": (lambda t: t.row(keys='["..", "../../x"]'), "cannot address a file"),
    "keys of another number": (lambda t: t.row(keys='["de"]'), "needs model, language"),
    "keys that are no list": (lambda t: t.row(keys='{"de": 1}'), "no list of texts"),
    "keys without end": (lambda t: t.row(keys="[" * 4_000), "no list of texts"),
    "keys of a megabyte": (lambda t: t.row(keys="[" * 1_000_000), "something else than a name"),
    "keys written otherwise": (lambda t: t.row(keys='["m","de"]'), "written otherwise"),
    "part with slash": (lambda t: t.row(part="../../x"), "cannot address a file"),
    "no such table": (lambda t: t.row(slot_table="no\x1b[31m_such"), "no such table"),
    "later version": (lambda t: t.row(version=99), "version 99 of the contract"),
    "earlier version": (lambda t: t.row(version=0), "run there: xlwh materialize predictions"),
    "version that is a text": (lambda t: t.row(version="one"), "for the contract's version"),
    "fingerprint empty": (lambda t: t.row(fingerprint=""), "not 32 hexadecimal digits"),
    "fingerprint of markup": (lambda t: t.row(fingerprint="<script>"), "not 32 hexadecimal digits"),
    "fingerprint of capitals": (lambda t: t.row(fingerprint="A" * 32), "not 32 hexadecimal digits"),
    "fingerprint of another": (lambda t: t.row(fingerprint=OTHER), "xlwh.fingerprint is"),
    "rows negative": (lambda t: t.row(rows=-1), "for rows"),
    "rows more": (lambda t: t.row(rows=3), "xlwh.rows is '2'"),
    "size larger": (lambda t: t.row(size_bytes=10**12), "1,000,000,000,000 in the manifest"),
    "size smaller": (lambda t: t.row(size_bytes=5), "bytes, 5 in the manifest"),
    "size that is a text": (lambda t: t.row(size_bytes="large"), "for bytes"),
    "digest of another": (lambda t: t.row(digest="0" * 64), "other bytes than were committed"),
    "digest that is none": (lambda t: t.row(digest="x"), "not 64 hexadecimal digits"),
    "two slots with one file": (lambda t: t.sql("create table more as select * from versions", "drop table versions", "alter table more rename to versions", "insert into versions select slot_table, '[\"m\", \"fr\"]', part, file, fingerprint, rows, size_bytes, version, valid_from, valid_to, removed, digest, segment, number, packed_from from versions where keys like '%\"de\"]'"), "names its slot or its file twice"),
    "one slot twice": (lambda t: t.sql("drop index one_current", "insert into versions select slot_table, keys, part, file || 'x', fingerprint, rows, size_bytes, version, valid_from, valid_to, removed, digest, segment, number, packed_from from versions where keys like '%\"de\"]'"), "names its slot or its file twice"),
    "half of the rows": (lambda t: t.rewrite(lambda f: f.head(1)), "in the manifest"),
    "half of the rows, admitted": (lambda t: t.rewrite(lambda f: f.head(1), True), "1 rows in the file, 2 in the manifest"),
    "metadata of another table": (lambda t: t.rewrite(lambda f: f, True, **{"xlwh.table": "models"}), "xlwh.table is 'models'"),
    "fingerprint of another in the file": (lambda t: t.rewrite(lambda f: f, True, **{"xlwh.fingerprint": "beef"}), "xlwh.fingerprint is 'beef'"),
    "values changed": (lambda t: t.rewrite(lambda f: f.with_columns(label=pl.lit("POISON"))), "in the manifest"),
    "rows of another partition": (lambda t: t.rewrite(lambda f: f.with_columns(language=pl.lit("en")), True), "rows have another `language`"),
    "columns that are not in the contract": (lambda t: t.rewrite(lambda f: f.with_columns(more=1), True), "`more` is not in the contract"),
    "one key twice": (lambda t: t.rewrite(lambda f: pl.concat([f.head(1)] * 2), True), "share their key"),
    "rows without end": (lambda t: t.rewrite(lambda f: f.head(1).select(pl.all().repeat_by(2_000_000).explode()), True), "2000000 rows in the file"),
    "one bit": (lambda t: flipped(t.file), "other bytes than were committed"),
    "no such file": (lambda t: t.file.unlink(), "its file is gone"),
    "a folder": (lambda t: t.replaced(Path.mkdir), "is a folder, not a regular file"),
    "a pipe": (lambda t: t.replaced(os.mkfifo), "is a pipe, not a regular file"),
    "a link out": (lambda t: t.replaced(lambda p: p.symlink_to("/etc/passwd")), "is a symbolic link"),
    "a link to a device without end": (lambda t: t.replaced(lambda p: p.symlink_to("/dev/zero")), "is a symbolic link"),
    "a link to itself": (lambda t: t.replaced(lambda p: p.symlink_to(p)), "is a symbolic link"),
    "a link to a sound file": (lambda t: (shutil.copy(t.file, t.root / "sound"), t.replaced(lambda p: p.symlink_to(t.root / "sound"))), "is a symbolic link"),
    "a folder that is a link": (lambda t: folder_is_link(t, t.file.parent), "is a link or no folder"),
    "garbage": (lambda t: t.file.write_bytes(b"x" * 5_000), "in the manifest"),
    "garbage, admitted": (lambda t: (t.file.write_bytes(b"PAR1" + b"x" * 5_000 + b"PAR1"), t.admit()), "unreadable file"),
    "nothing, admitted": (lambda t: (t.file.write_bytes(b""), t.admit()), "unreadable file"),
}  # fmt: skip


@pytest.mark.parametrize("case", ROWS)
def test_a_partition_that_cannot_be_believed_is_refused_and_the_rest_is_taken(here, there, case):
    change, reason = ROWS[case]
    change(There(there))
    before = {name: seen[:3] for name, seen in state(there).items()}
    taken = take(here, there, TABLES_ALONE)
    assert {name: seen[:3] for name, seen in state(there).items()} == before
    assert [entry.slot for entry in taken.entries] == [ROW, EN]
    assert taken.refused, case
    assert all(reason in refused.reason for refused in taken.refused), taken.refused
    assert all(refused.what.isprintable() and refused.reason.isprintable() for refused in taken.refused)
    assert {entry.slot for entry in here.entries()} == {ROW, EN}
    outside = {path.name for path in here.root.parent.iterdir()} - {"here", "there"}
    assert outside == set()
    assert_sound(here)


MODELS: dict[str, tuple[Callable[[There], object], str]] = {
    "weights replaced": (lambda t: flipped(t.root / WEIGHTS), "model.safetensors: its file has other bytes"),
    "weights replaced, admitted": (lambda t: (flipped(t.root / WEIGHTS), t.weights(digest=sha256([t.root / WEIGHTS]))), "other weights than its row says"),
    "weights cut": (lambda t: (t.root / WEIGHTS).write_bytes(b"w"), "has 1 bytes, 7 in the manifest"),
    "weights gone": (lambda t: (t.root / WEIGHTS).unlink(), "model.safetensors: its file is gone"),
    "weights a pipe": (lambda t: t.replaced(os.mkfifo, WEIGHTS), "is a pipe"),
    "weights a link": (lambda t: t.replaced(lambda p: p.symlink_to("/etc/passwd"), WEIGHTS), "is a symbolic link"),
    "a folder inside a link": (lambda t: folder_is_link(t, t.root / FOLDER / "deep"), "is a link or no folder"),
    "the folder a link": (lambda t: folder_is_link(t, t.root / FOLDER), "is a link or no folder"),
    "the folder gone": (lambda t: shutil.rmtree(t.root / FOLDER), "cannot be read"),
    "path up": (lambda t: t.weights(file=f"{FOLDER}/../../../../etc/passwd"), "names the checkpoint"),
    "absolute path": (lambda t: t.weights(file="/etc/passwd"), "names the checkpoint"),
    "path in tables": (lambda t: t.weights(file=t.file.relative_to(t.root).as_posix()), "names the checkpoint"),
    "path of another model": (lambda t: t.weights(file=f"models/n/{CHECKPOINT_NAME}/model.safetensors"), "names the checkpoint"),
    "path of another checkpoint": (lambda t: t.weights(file=f"models/m/{'b' * 16}/model.safetensors"), "names the checkpoint"),
    "file named twice": (lambda t: t.sql("drop index one_artefact", "insert into artefacts select * from artefacts where kind = 'model'"), "names the checkpoint"),
    "size forged": (lambda t: t.weights(size_bytes=10**6), "in the manifest"),
    "size negative": (lambda t: t.weights(size_bytes=-1), "names the checkpoint"),
    "digest forged": (lambda t: t.weights(digest="0" * 64), "other bytes than were committed"),
    "digest none": (lambda t: t.weights(digest=7), "names the checkpoint"),
    "fingerprint of another": (lambda t: t.weights(fingerprint="b" * 16), "names the checkpoint"),
    "weights not named": (lambda t: t.sql("delete from artefacts where file like '%safetensors'"), "other weights than its row says"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODELS)
def test_a_row_is_refused_with_its_checkpoint(here, there, case):
    change, reason = MODELS[case]
    change(There(there))
    taken = take(here, there, TABLES_ALONE)
    assert [entry.slot for entry in taken.entries] == [DE, EN]
    assert taken.artefacts == []
    assert reason in {refused.what: refused.reason for refused in taken.refused}[str(ROW)]
    assert not (here.root / "models").exists()
    assert_sound(here)


def test_files_that_the_manifest_does_not_name_stay_there(here, there):
    (there / FOLDER / "more.py").write_text("import os")
    os.mkfifo(there / FOLDER / "pipe")
    assert take(here, there, ["models"]).refused == []
    assert not (here.root / FOLDER / "more.py").exists()


def result(root: Path) -> Path:
    [found] = (root / "metrics").glob("*.parquet")
    return found


OWN: dict[str, tuple[Callable[[There], object], set[str], str]] = {
    "result a pipe": (lambda t: t.replaced(os.mkfifo, str(result(t.root).relative_to(t.root))), {"metric counted"}, "bytes, |a pipe"),
    "result replaced": (lambda t: flipped(result(t.root)), {"metric counted"}, "other bytes than were committed"),
    "result of another name": (lambda t: (t.root / "metrics/current.json").write_text('{"counted": {"file": "../../x.parquet", "function": "f", "description": ""}}'), {"metric counted"}, "cannot be its own"),
    "what is said is no JSON": (lambda t: (t.root / "metrics/current.json").write_text("{"), {"metrics and SQL of one's own"}, "cannot be read"),
    "what is said is a list": (lambda t: (t.root / "metrics/current.json").write_text("[]"), {"metrics and SQL of one's own"}, "something else than xlwh writes"),
    "path of the result outside": (lambda t: t.sql("update artefacts set file = '../x.parquet' where kind = 'metric'"), {"metric counted"}, "its one file is to be"),
    "SQL replaced": (lambda t: (t.root / "sql/mine.sql").write_text("select 1 as one from other_tables_than"), {"sql mine"}, "bytes"),
    "SQL a link": (lambda t: t.replaced(lambda p: p.symlink_to("/etc/passwd"), "sql/mine.sql"), {"sql mine"}, "bytes|a symbolic link"),
    "path of the SQL outside": (lambda t: t.sql("update artefacts set file = 'sql/../x.sql' where kind = 'sql'"), {"sql mine"}, "its one file is to be"),
    "SQL of before that reads files": (lambda t: (t.sql("drop table artefacts"), (t.root / "sql/mine.sql").write_text("select * from read_text('/etc/passwd')")), {"sql mine"}, "`read_text`"),
    "no such kind": (lambda t: t.sql("update artefacts set kind = 'code', file = 'code/x.py' where kind = 'sql'"), {"code mine"}, "no such kind"),
}  # fmt: skip


@pytest.mark.parametrize("case", OWN)
def test_results_and_sql_that_cannot_be_believed_are_refused(here, there, case):
    change, refused, reason = OWN[case]
    change(There(there))
    taken = take(here, there)
    assert {each.what for each in taken.refused} == refused
    assert all(any(part in each.reason for part in reason.split("|")) for each in taken.refused), (
        taken.refused
    )
    assert [entry.slot for entry in taken.entries] == [ROW, DE, EN]
    names = {f"{kind} {name}" for kind, name in here.manifest.artefacts()}
    assert not names & refused
    assert_sound(here)


MANIFESTS: dict[str, tuple[Callable[[There], object], str]] = {
    "truncated": (lambda t: os.truncate(t.root / "manifest.sqlite", 5_000), "cannot be used|is damaged"),
    "empty": (lambda t: os.truncate(t.root / "manifest.sqlite", 0), "other columns|cannot be used|lacks"),
    "garbage": (lambda t: (t.root / "manifest.sqlite").write_bytes(b"x" * 5_000), "cannot be used"),
    "gone": (lambda t: (t.root / "manifest.sqlite").unlink(), "is gone, and something is stored"),
    "a pipe": (lambda t: t.replaced(os.mkfifo, "manifest.sqlite"), "is a pipe"),
    "a folder": (lambda t: t.replaced(Path.mkdir, "manifest.sqlite"), "is a folder"),
    "a link": (lambda t: (shutil.move(t.root / "manifest.sqlite", t.root / "m"), (t.root / "manifest.sqlite").symlink_to("m")), "is a symbolic link"),
    "a log that is a pipe": (lambda t: os.mkfifo(t.root / "manifest.sqlite-wal"), "is a pipe"),
    "a trigger": (lambda t: t.sql("create trigger t after insert on versions begin delete from versions; end"), "holds the trigger `t`"),
    "a view for a table": (lambda t: t.sql("alter table versions rename to v2", "create view versions as select * from v2"), "which this version of xlwh does not make"),
    "a view beside": (lambda t: t.sql("create view more as select * from versions"), "holds the view `more`"),
    "a virtual table": (lambda t: t.sql("create virtual table more using fts5(slot_table, keys, part, valid_from, valid_to)"), "does not make"),
    "another table": (lambda t: t.sql("create table more (x)"), "holds the table `more`"),
    "a computed column": (lambda t: t.sql("alter table versions add column more as (rows + 1)"), "other columns"),
    "no table of commits": (lambda t: t.sql("drop table commits"), "lacks"),
    "a column that is gone": (lambda t: t.sql("alter table versions drop column rows"), "other columns"),
}  # fmt: skip


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_cannot_be_believed_is_an_error_and_nothing_is_taken(here, there, case):
    change, reason = MANIFESTS[case]
    change(There(there))
    with pytest.raises(StoreError, match=reason):
        take(here, there)
    assert here.manifest.head() == 0
    assert list((here.root / "staging" / "take").glob("*")) in ([here.root / "staging" / "take" / "lock"], [])


@pytest.mark.parametrize(
    "nested", ["in ours", "in theirs", "itself", "a link to itself", "a file", "nothing"]
)
def test_places_that_are_no_other_warehouse(here, there, nested, tmp_path):
    place = {
        "in ours": lambda: Path(shutil.move(there, here.root / "there")),
        "in theirs": lambda: there,
        "itself": lambda: here.root,
        "a link to itself": lambda: (tmp_path / "link").symlink_to(here.root) or tmp_path / "link",
        "a file": lambda: there / "manifest.sqlite",
        "nothing": lambda: tmp_path / "nothing",
    }[nested]()
    warehouse = Warehouse(there / "ours", create=True) if nested == "in theirs" else here
    with pytest.raises(StoreError, match=r"inside the other|this warehouse itself|no warehouse|is a file"):
        take(warehouse, place)
    assert warehouse.manifest.head() == 0


def test_no_such_table(here, there):
    with pytest.raises(StoreError, match="There is no table `nope`"):
        take(here, there, ["nope"])
