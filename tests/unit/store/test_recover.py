"""`recover`: what it makes of journals and files, what it leaves alone, and that it can be killed at any moment."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aborting
import polars as pl
import pytest

from xlwh.digests import sha256
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse, fingerprint, schema
from xlwh.store.artefacts import Artefact
from xlwh.store.checkpoints import CHECKPOINT, CHECKPOINT_FILES, checkpoint, files_text
from xlwh.store.identity import slot_of
from xlwh.store.journal import NAME
from xlwh.store.recover import recover
from xlwh.store.soundness import DamagedManifestError, LostManifestError

LANGUAGES = ("de", "en", "sw")
MODEL = Slot("models", ("m",))


def slot(language: str) -> Slot:
    return Slot("predictions", ("m", language), "xnli")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory, frames):
    """Three partitions, one of them superseded once, one out of scope; a model with its checkpoint."""
    warehouse = Warehouse(tmp_path_factory.mktemp("made") / "warehouse", create=True)
    for examples in (1, 2):
        for language in LANGUAGES[: 3 if examples == 1 else 1]:
            frame = frames.predictions(examples=examples, language=language)
            warehouse.write({slot(language): frame}, fingerprint("predictions", "1", {"n": examples}, []))
    folder = warehouse.root / "models" / "m" / ("a" * 16)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("weights")
    row = dict.fromkeys(schema("models")) | {
        "model": "m", "kind": "finetuned", "source": "base", "family": "bert",
        "weight_hash": sha256([folder / "model.safetensors"]),
        "tokenizer_hash": "0" * 64, "num_layers": 1, "num_heads": 1, "hidden_size": 1, "vocab_size": 1,
        "num_parameters": 1, "dtype": "float32",
    }  # fmt: skip
    made = checkpoint(warehouse.root, "m", folder, warehouse.hashes)
    warehouse.write(
        {MODEL: pl.DataFrame([row], schema=schema("models"))}, "f" * 32, {CHECKPOINT: "a" * 16}, [made]
    )
    warehouse.manifest.set_scope([warehouse.current(slot("sw"))])
    return warehouse.root


@pytest.fixture
def stored(made_once, tmp_path, open_warehouse):
    """A copy of it."""
    shutil.copytree(made_once, tmp_path / "warehouse")
    return open_warehouse()


def lose(root: Path, *names: str) -> None:
    for name in names or ("manifest.sqlite", NAME):
        (root / name).unlink()


def told(warehouse: Warehouse) -> dict[Slot, tuple[object, ...]]:
    return {
        e.slot: (e.file, e.fingerprint, e.rows, e.size_bytes, e.version, e.digest)
        for e in warehouse.entries()
    }


def test_the_journal_brings_back_everything(stored, open_warehouse):
    before, history = told(stored), [stored.manifest.snapshot(at) for at in range(stored.manifest.head() + 1)]
    artefacts = stored.manifest.artefacts()
    lose(stored.root, "manifest.sqlite")
    found = recover(stored.root)
    assert (found.from_backup, found.from_files, found.hidden, found.ended, found.unplaced) == (
        4,
        0,
        1,
        [],
        [],
    )
    again = open_warehouse()
    assert told(again) == before
    assert [again.manifest.snapshot(at) for at in range(again.manifest.head() + 1)] == history
    assert again.manifest.artefacts() == artefacts
    with again.connect(as_of=3) as database:
        assert database.sql("select count(*) from predictions").fetchall() == [(3,)]
    again.build_catalogue()
    assert again.check() == []


def test_the_files_alone_bring_back_what_is_current(stored, open_warehouse):
    stored.build_catalogue()
    before, artefacts, commit = told(stored), stored.manifest.artefacts(), stored.manifest.head()
    lose(stored.root)
    found = recover(stored.root)
    assert (found.from_backup, found.from_files, found.hidden) == (0, 4, 0)
    # Of two files of one slot the later one.
    [left] = found.unplaced
    assert left.reason.endswith("of the same slot, was changed later")
    again = open_warehouse()
    assert told(again) == before
    assert again.manifest.artefacts() == artefacts
    # No commit has a number that a catalogue, or who reads one, took for another.
    assert again.manifest.head() == commit + 1
    again.build_catalogue()
    assert {finding.kind for finding in again.check()} == {"orphan_file"}


def test_a_file_that_ends_the_process_that_decodes_it_is_told_and_the_others_are_placed(stored, monkeypatch):
    monkeypatch.setattr("xlwh.store.shelf.identified", aborting.identified)
    lose(stored.root)
    found = recover(stored.root)
    assert found.from_files == 3
    assert {left.reason for left in found.unplaced if "language=de" in left.file} == {
        "decoding it ends the process (SIGABRT)"
    }


def test_a_commit_that_the_journal_lacks_is_found_among_the_files(
    stored, open_warehouse, frames, monkeypatch
):
    before_last = told(stored)
    with monkeypatch.context() as patched:
        patched.setattr("xlwh.store.journal.Journal.follow", lambda *_: None)
        stored.write({slot("zu"): frames.predictions(language="zu")}, "b" * 32)
        stored.write({slot("de"): frames.predictions(language="de")}, "c" * 32)
        stored.drop([slot("en")])
    lose(stored.root, "manifest.sqlite")
    found = recover(stored.root)
    # Where the journal has a file for a slot, that stays; `materialize` sees that it is out of date.
    assert told(open_warehouse()) == before_last | {slot("zu"): told(open_warehouse())[slot("zu")]}
    assert [left.reason.partition(" is ")[0] for left in found.unplaced] == [
        "by the backup the file of its slot"
    ]


def test_files_that_were_written_after_a_journal_was_cut_win(stored, open_warehouse):
    content = (stored.root / NAME).read_bytes()
    at = content.index(b'{"commit":4')
    (stored.root / NAME).write_bytes(content[:at] + b"x" + content[at + 1 :])
    before = told(stored)
    lose(stored.root, "manifest.sqlite")
    found = recover(stored.root)
    assert (
        "damaged, or was cut short after commit 3" in found.backup or "damaged after commit 3" in found.backup
    )
    assert told(open_warehouse()) == before
    assert [left.reason.partition(" was ")[2] for left in found.ended] == ["written after the backup ends"]
    assert found.aside == ["manifest-damaged-1.journal"]


def test_what_was_dropped_stays_so_by_the_backup(stored, open_warehouse):
    stored.drop([slot("en")])
    lose(stored.root, "manifest.sqlite")
    assert recover(stored.root).unplaced == []
    assert slot("en") not in told(open_warehouse())


def _rewritten(file, **changes):
    metadata = {f"xlwh.{k}": v for k, v in changes.items()}
    changed = {
        k: v for k, v in (pl.read_parquet_metadata(file) | metadata).items() if k.startswith("xlwh.") and v
    }
    pl.read_parquet(file, glob=False, hive_partitioning=False).write_parquet(file, metadata=changed)


def _other_rows(file):
    metadata = {k: v for k, v in pl.read_parquet_metadata(file).items() if k.startswith("xlwh.")}
    frame = pl.read_parquet(file, glob=False, hive_partitioning=False)
    frame.with_columns(language=pl.lit("xx")).write_parquet(file, metadata=metadata)


def _flipped(file):
    content = bytearray(file.read_bytes())
    for at in range(len(content) // 8, len(content) // 2):
        content[at] ^= 0xFF
    file.write_bytes(bytes(content))


def _moved(file, folder):
    other = file.parents[3] / folder.format(file.parent.name)
    other.mkdir(parents=True)
    shutil.move(file, other / file.name)


def _linked(file):
    shutil.move(file, file.parents[5] / file.name)
    file.symlink_to(file.parents[5] / file.name)


UNPLACEABLE = {
    "cut": (lambda f: f.write_bytes(f.read_bytes()[:-20]), "cannot be read"),
    "empty": (lambda f: f.write_bytes(b""), "cannot be read"),
    "flipped": (_flipped, ""),
    "link": (_linked, "link"),
    "no-metadata": (lambda f: pl.read_parquet(f, glob=False).write_parquet(f), "does not say what it is"),
    "no-fingerprint": (lambda f: _rewritten(f, fingerprint=None), "no xlwh.fingerprint"),
    "table": (lambda f: _rewritten(f, table="tokens"), "the table 'tokens'"),
    "rows": (lambda f: _rewritten(f, rows="9"), "9"),
    "number": (lambda f: _rewritten(f, rows="many"), "'many' rows"),
    "version": (lambda f: _rewritten(f, version="999"), "later version of xlwh"),
    "digits": (lambda f: _rewritten(f, version="1" * 5_000), "it says version '111"),
    "many-rows": (lambda f: _rewritten(f, rows="9" * 5_000), "and '999"),
    "other-digits": (lambda f: _rewritten(f, version="\u0661"), "it says version"),
    "mark": (lambda f: _rewritten(f, fingerprint="mark"), "not 32 hexadecimal digits"),
    "escapes": (lambda f: _rewritten(f, fingerprint="\x1b[31m" + "0" * 27), "not 32 hexadecimal digits"),
    "line": (lambda f: _rewritten(f, fingerprint="0" * 32 + "\n"), "not 32 hexadecimal digits"),
    "long": (lambda f: _rewritten(f, fingerprint="0" * 100_000), "not 32 hexadecimal digits"),
    "escapes-in-table": (lambda f: _rewritten(f, table="\x1b[31m" * 1_000), "the table '"),
    "keys": (_other_rows, "another `language`"),
    "name": (lambda f: f.rename(f.with_name("xnli.parquet")), "its name is none"),
    "suffix": (lambda f: f.rename(f.with_name("notes.txt")), "its name is none"),
    "no-table": (lambda f: _moved(f, "predicted/model=m/{}"), "no table 'predicted'"),
    "folder": (lambda f: _moved(f, "predictions/{}"), "model, language"),
    "order": (lambda f: _moved(f, "predictions/{}/model=m"), "model, language"),
    "key": (lambda f: _moved(f, "predictions/model=a b/{}"), "no slot has this address"),
}


@pytest.mark.parametrize("has_backup", [False, True])
def test_files_that_cannot_be_placed_are_told_and_left_alone(stored, open_warehouse, frames, has_backup):
    before = told(stored)
    stored.write({slot(name): frames.predictions(language=name) for name in UNPLACEABLE}, "a" * 32)
    files = {name: stored.root / stored.current(slot(name)).file for name in UNPLACEABLE}
    for name, (damage, _) in UNPLACEABLE.items():
        damage(files[name])
    present = sorted(path for path in (stored.root / "tables").rglob("*") if path.is_file())
    lose(stored.root, *(["manifest.sqlite"] if has_backup else []))
    found = recover(stored.root)
    assert told(open_warehouse()) == before
    assert sorted(path for path in (stored.root / "tables").rglob("*") if path.is_file()) == present
    if has_backup:
        gone = {(stored.root / left.file) for left in found.ended}
        assert gone == set(files.values())
    else:
        reasons = {
            Path(left.file): left.reason for left in found.unplaced if "changed later" not in left.reason
        }
        assert len(reasons) == len(UNPLACEABLE)
        assert all(reason.isprintable() and len(reason) < 1_000 for reason in reasons.values())
        for name, (_, reason) in UNPLACEABLE.items():
            assert any(reason in told for file, told in reasons.items() if f"={name}" in str(file)), (
                name,
                reasons,
            )
    assert {finding.kind for finding in open_warehouse().check()} <= {"orphan_file", "stale_catalogue"}


def test_a_file_that_is_gone_gives_its_slot_to_one_that_is_there(stored, open_warehouse, frames):
    file = stored.root / stored.current(slot("sw")).file
    other = file.with_name(f"xnli-{'0' * 16}.parquet")
    shutil.move(file, other)
    lose(stored.root, "manifest.sqlite")
    found = recover(stored.root)
    assert [left.file for left in found.ended] == [file.relative_to(stored.root).as_posix()]
    assert open_warehouse().current(slot("sw")).file == other.relative_to(stored.root).as_posix()
    assert open_warehouse().hidden() == []


def test_a_time_in_the_future_does_not_make_a_file_the_newest(stored, open_warehouse):
    before = told(stored)
    superseded = next(e for e in stored.manifest.snapshot(3).entries if e.slot == slot("de"))
    then = (datetime.now(UTC) + timedelta(days=2000)).timestamp()
    os.utime(stored.root / superseded.file, (then, then))
    lose(stored.root)
    recover(stored.root)
    assert told(open_warehouse()) == before


def test_nothing_is_changed_where_all_is_sound_or_with_dry_run(stored, tmp_path):
    def state():
        return {
            path: path.read_bytes()
            for path in stored.root.rglob("*")
            if path.is_file() and path.suffix != ".lock"
        }

    before = state()
    assert recover(stored.root).why is None
    assert state() == before
    assert recover(stored.root, dry_run=True, force=True).from_backup == 4
    lose(stored.root, "manifest.sqlite")
    before = state()
    assert recover(stored.root, dry_run=True).from_backup == 4
    assert state() == before
    with pytest.raises(StoreError, match="There is no warehouse at"):
        recover(tmp_path / "nothing")


def test_a_damaged_journal_of_a_sound_manifest_is_written_anew(stored):
    whole = (stored.root / NAME).read_bytes()
    (stored.root / NAME).write_bytes(whole.replace(b'"commit":2', b'"commit":7'))
    assert "damaged_journal" in {finding.kind for finding in stored.check(deep=True)}
    assert recover(stored.root).backup == "its journal was damaged, and is written anew"
    assert (stored.root / NAME).read_bytes() == whole


@pytest.mark.parametrize("whose", ["older", "foreign"])
def test_of_a_manifest_and_a_journal_that_disagree_the_one_whose_files_are_there(
    stored, open_warehouse, frames, tmp_path, whose
):
    before, manifest = told(stored), stored.root / "manifest.sqlite"
    if whose == "older":
        shutil.copy(manifest, tmp_path / "older")
        stored.write({slot("zu"): frames.predictions(language="zu")}, "new")
        before = told(stored)
        shutil.copy(tmp_path / "older", manifest)
    else:
        other = Warehouse(tmp_path / "other", create=True)
        other.write({slot("zu"): frames.predictions(language="zu")}, "new")
        shutil.copy(other.root / "manifest.sqlite", manifest)
    with pytest.raises(StoreError, match="older copy" if whose == "older" else "of another manifest"):
        open_warehouse()
    assert NAME in recover(stored.root).backup
    assert told(open_warehouse()) == before


def test_a_log_of_another_manifest_is_not_taken_over(stored, open_warehouse, frames, tmp_path):
    """SQLite itself takes any log that lies beside a database."""
    before = told(stored)
    other = Warehouse(tmp_path / "other", create=True)
    with closing(sqlite3.connect(other.root / "manifest.sqlite")) as held:
        held.execute("select * from commits").fetchall()
        for number in range(30):
            other.write({slot("zu"): frames.predictions(language="zu")}, f"{number}")
        shutil.copy(other.root / "manifest.sqlite-wal", stored.root / "manifest.sqlite-wal")
    content = (stored.root / "manifest.sqlite").read_bytes()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"manifest\.sqlite cannot be used: .* Run: `xlwh recover`"):
            open_warehouse()
        assert (stored.root / "manifest.sqlite").read_bytes() == content
    recover(stored.root)
    assert told(open_warehouse()) == before


def test_gc_waits_for_a_check(stored, open_warehouse):
    lose(stored.root, "manifest.sqlite")
    recover(stored.root)
    again = open_warehouse()
    with pytest.raises(StoreError, match=r"was rebuilt at .* Run: `xlwh check --deep`, then `xlwh gc`"):
        again.gc(timedelta(0))
    again.check(deep=False)
    with pytest.raises(StoreError, match="was rebuilt"):
        again.gc(timedelta(0))
    file = again.root / again.current(slot("de")).file
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    again.check(deep=True)
    with pytest.raises(StoreError, match="was rebuilt"):
        again.gc(timedelta(0))
    file.write_bytes(content)
    again.check(deep=True)
    assert len(again.gc(timedelta(0)).removed) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
import xlwh.store.journal, xlwh.store.recover as module, xlwh.store.files as files

left = int(sys.argv[2])

def counted(home, name):
    genuine = getattr(home, name)
    def call(*arguments, **named):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return genuine(*arguments, **named)
    setattr(home, name, call)

for home, name in ((os, "rename"), (os, "unlink"), (os, "fsync"), (os, "mkdir")):
    counted(home, name)
module.recover(Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["gone", "garbage", "no journal", "torn journal"])
def test_a_kill_at_any_moment_leaves_what_was(stored, open_warehouse, tmp_path, damage):
    """Every change of the file system is a moment: the manifest is refused, or the new one is there, and it runs again."""
    manifest, journal = stored.root / "manifest.sqlite", stored.root / NAME
    before, current = told(stored), stored.manifest.head()
    if damage == "gone":
        manifest.unlink()
    elif damage == "torn journal":
        manifest.write_bytes(b"garbage" * 1000)
        os.truncate(journal, journal.stat().st_size - 10)
    else:
        manifest.write_bytes(b"garbage" * 1000)
        if damage == "no journal":
            journal.unlink()
    shutil.copytree(stored.root, tmp_path / "damaged")
    for moment in range(40):
        shutil.rmtree(stored.root)
        shutil.copytree(tmp_path / "damaged", stored.root)
        ran = subprocess.run([sys.executable, "-c", KILLED, stored.root, str(moment)], check=False)
        if ran.returncode == 0:
            break
        assert ran.returncode == -signal.SIGKILL
        with suppress(DamagedManifestError, LostManifestError):
            open_warehouse()
        recover(stored.root)
        assert told(open_warehouse()) == before
        if damage in ("gone", "garbage"):
            assert open_warehouse().manifest.head() == current
            assert [e.rows for e in open_warehouse().manifest.snapshot(3).entries] == [1, 1, 1]
    assert 4 < moment < 39


def test_places():
    assert slot_of(f"tables/models/model=m/all-{'0' * 16}.parquet") == Slot("models", ("m",))
    assert slot_of(f"tables/predictions/model=m-1/language=en/a-b.c-{'0' * 16}.parquet").part == "a-b.c"


def test_artefacts_are_as_they_were(stored, open_warehouse):
    assert all(isinstance(each, Artefact) for each in stored.manifest.artefacts().values())
    (stored.root / "models" / "m" / ("b" * 16)).mkdir()
    shutil.rmtree(stored.root / "models" / "m" / ("a" * 16))
    lose(stored.root)
    found = recover(stored.root)
    assert [(left.file, left.reason.partition(" (")[0]) for left in found.ended] == [
        (f"models/m/{'a' * 16}", "the row of the model names it")
    ]
    assert (f"models/m/{'b' * 16}", "no row of `models` names it") in [
        (x.file, x.reason) for x in found.unplaced
    ]
    assert open_warehouse().manifest.artefacts() == {}


def _weights_flipped(folder):
    (folder / "model.safetensors").write_text("veights")


def _weights_in_parts(folder):
    (folder / "model.safetensors").unlink()
    for number in (1, 2):
        (folder / f"model-0000{number}-of-00002.safetensors").write_text("part")


def _weights_gone(folder):
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("damage", [_weights_flipped, _weights_in_parts, _weights_gone])
def test_a_damaged_checkpoint_is_never_committed_as_sound(stored, open_warehouse, damage):
    """Without the backup its row says which weights it had."""
    damage(stored.root / "models" / "m" / ("a" * 16))
    lose(stored.root)
    found = recover(stored.root)
    assert found.damaged
    assert [left.file for left in found.unverified] == [f"models/m/{'a' * 16}"]
    assert {left.reason for left in found.damaged} == {
        "it is damaged: its checkpoint has other weights than its row says"
    }
    again = open_warehouse()
    again.build_catalogue()
    findings = {finding.file: finding for finding in again.check(deep=True) if finding.kind != "orphan_file"}
    assert findings.keys() == {left.file for left in found.damaged}
    assert {finding.slot for finding in findings.values()} == {MODEL}


def _said(stored, text=None):
    """The row of the model written as it is now, with what it says of the files of its checkpoint, or a `text` instead."""
    folder = stored.root / "models" / "m" / ("a" * 16)
    for name in ("config.json", "tokenizer.json", "deep/template"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    made, frame = checkpoint(stored.root, "m", folder, stored.hashes), stored.scan("models").collect()
    said = {CHECKPOINT: folder.name, CHECKPOINT_FILES: files_text(made) if text is None else text}
    stored.write({MODEL: frame}, "e" * 32, said, [made])
    return folder, made


@pytest.mark.parametrize("damage", [lambda file: file.write_text("other"), lambda file: file.unlink()])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "deep/template"])
def test_every_file_of_a_checkpoint_is_held_against_its_row(stored, open_warehouse, name, damage):
    folder, made = _said(stored)
    damage(folder / name)
    lose(stored.root)
    found = recover(stored.root)
    assert [left.file for left in found.damaged] == [f"models/m/{folder.name}/{name}"]
    assert not found.unverified
    again = open_warehouse()
    assert again.manifest.artefacts() == {("model", "m"): made}
    findings = [each for each in again.check(deep=True) if each.slot is not None]
    assert [(each.file, each.slot) for each in findings] == [(f"models/m/{folder.name}/{name}", MODEL)]


def test_a_sound_checkpoint_is_as_its_row_says(stored, open_warehouse):
    _, made = _said(stored)
    lose(stored.root)
    found = recover(stored.root)
    assert (found.damaged, found.unverified) == ([], [])
    assert open_warehouse().manifest.artefacts() == {("model", "m"): made}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", "[" * 100_000, '{"a": 1}', '{"a": [1, "x"]}', '{"../a": [1, "%s"]}' % ("0" * 64),
        '{"/a": [1, "%s"]}' % ("0" * 64), '{"a": [-1, "%s"]}' % ("0" * 64), f'{{"a": [{"9" * 5000}, "x"]}}',
    ],
)  # fmt: skip
def test_a_row_that_says_nonsense_of_its_checkpoint_is_not_placed(stored, open_warehouse, text):
    _said(stored, text)
    file = stored.current(MODEL).file
    lose(stored.root)
    reasons = {left.file: left.reason for left in recover(stored.root).unplaced}
    assert "its checkpoint" in reasons[file]


def test_a_checkpoint_has_the_digests_that_a_cut_journal_has_of_it(stored, open_warehouse):
    before = stored.manifest.artefacts()
    _weights_flipped(stored.root / "models" / "m" / ("a" * 16))
    [row] = stored.entries("models")
    shutil.copy(stored.root / row.file, (stored.root / row.file).with_name(f"all-{'1' * 16}.parquet"))
    (stored.root / row.file).unlink()
    lose(stored.root, "manifest.sqlite")
    found = recover(stored.root)
    assert [left.file for left in found.damaged] == [f"models/m/{'a' * 16}/model.safetensors"]
    assert "their SHA-256 is" in found.damaged[0].reason
    assert open_warehouse().manifest.artefacts() == before


@pytest.mark.parametrize("name", ["../../../../etc", "a" * 15, "A" * 16, "a" * 16 + "\n", ""])
def test_a_row_that_names_something_else_than_a_checkpoint_is_not_placed(stored, open_warehouse, name):
    file = stored.root / stored.current(MODEL).file
    metadata = {k: v for k, v in pl.read_parquet_metadata(file).items() if k.startswith("xlwh.")}
    frame = pl.read_parquet(file, glob=False, hive_partitioning=False)
    file.unlink()
    frame.write_parquet(file, metadata=metadata | {CHECKPOINT: name})
    lose(stored.root)
    reasons = {left.file: left.reason for left in recover(stored.root).unplaced}
    assert "not 16 hexadecimal digits" in reasons[file.relative_to(stored.root).as_posix()]
    assert open_warehouse().current(MODEL) is None
