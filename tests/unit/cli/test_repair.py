"""repair, and what a run does about files that are not all there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from two_models import Bench

from xlwh.models import Zoo
from xlwh.steps.context import Context
from xlwh.store import Slot, Warehouse
from xlwh.store.connect import KEPT
from xlwh.study import load
from xlwh.upkeep import repair as repairing
from xlwh.upkeep import scope

STUDY = """
name = "small"
languages = ["en", "de"]
[datasets.nli]
reader = "xnli"
path = "nli"
aligned = "unchecked"
"""

EXAMPLES, TOKENS = Slot("examples", ("nli", "de"), "dev"), Slot("tokens", ("a", "en"), "nli")
PARALLELISM = Slot("parallelism", ("nli",))
REJECTED = Slot("rejected_rows", ("nli", "de"), "dev")
"""Made by the partition that makes EXAMPLES."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory, checkpoint):
    """A folder with the study, and the examples and tokens of models a and b, with kept rows over them."""
    folder = tmp_path_factory.mktemp("filled")
    bench, text = Bench(folder, checkpoint("roberta")), STUDY
    for name in "ab":
        text += f'[models.{name}]\npath = "{bench.checkpoint}"\ndatasets = ["nli"]\n'
    (folder / "study.toml").write_text(text)
    study, warehouse = load(folder / "study.toml"), Warehouse(folder / "warehouse", create=True)
    context = Context(study, warehouse, Zoo(study, warehouse, device="cpu"))
    bench.make(context, "examples", "parallelism", "tokens")
    scope.renew(context.planner)
    warehouse.keep_views(["fertility"])
    return folder


@pytest.fixture
def made(filled, tmp_path):
    """The warehouse of a copy of it in the test's own folder."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return Warehouse(tmp_path / "warehouse")


def flip(path: Path) -> None:
    """One bit among the values: the file still opens."""
    content = bytearray(path.read_bytes())
    # Before the footer, where it is a Parquet file.
    end = (
        len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        if path.suffix == ".parquet"
        else len(content)
    )
    content[end // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def path_of(warehouse: Warehouse, slot: Slot) -> Path:
    return warehouse.root / warehouse.current(slot).file


def shown(xlwh, warehouse: Warehouse) -> object:
    code, out, err = xlwh("sql", "select * from tokens order by all", "--json")
    assert code == 0, err
    return json.loads(out)


def test_what_is_damaged_is_made_again_and_nothing_else(xlwh, made):
    rows, before = shown(xlwh, made), {entry.slot: entry for entry in made.entries()}
    flip(path_of(made, EXAMPLES))
    cut(path_of(made, TOKENS))
    code, out, _ = xlwh("repair", "--dry-run")
    assert code == 0
    assert "To be made again: examples nli × de" in out
    assert {entry.slot: entry for entry in made.entries()} == before
    code, out, err = xlwh("repair")
    assert code == 0, err
    after = {entry.slot: entry for entry in made.entries()}
    assert {slot for slot in before if after[slot] != before[slot]} == {EXAMPLES, REJECTED, TOKENS}
    assert all(after[slot].fingerprint == before[slot].fingerprint for slot in before)
    # The damaged files wait for gc.
    assert made.check(deep=True) == []
    assert shown(xlwh, made) == rows
    head = made.manifest.head()
    assert xlwh("materialize", "examples", "parallelism", "tokens")[0] == 0
    assert made.manifest.head() == head
    assert "No stored file is damaged." in xlwh("repair")[1]


@pytest.mark.parametrize("moment", ["drop_untouched", "materialise"])
def test_what_a_repair_had_taken_out_when_it_was_stopped_is_made_by_the_next(xlwh, made, monkeypatch, moment):
    before = {entry.slot: entry for entry in made.entries()}
    for slot in (EXAMPLES, TOKENS):
        flip(path_of(made, slot))

    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            {"materialise": "xlwh.cli.make", "drop_untouched": "xlwh.upkeep.repair"}[moment] + f".{moment}",
            stopped,
        )
        assert xlwh("repair")[0] != 0
    out = {EXAMPLES, TOKENS} if moment == "materialise" else set()
    assert {entry.slot for entry in made.entries()} == before.keys() - out
    assert {entry.slot for entry in repairing.taken_out(made)} == out
    assert "Would make 2 damaged files again." in xlwh("repair", "--dry-run")[1]
    code, _, err = xlwh("repair")
    assert code == 0, err
    assert made.check(deep=True) == []
    after = {entry.slot: entry for entry in made.entries()}
    assert {slot: entry.fingerprint for slot, entry in after.items()} == {
        slot: entry.fingerprint for slot, entry in before.items()
    }
    head = made.manifest.head()
    assert "No stored file is damaged." in xlwh("repair")[1]
    assert (made.manifest.head(), (made.root / repairing.NOTE).exists()) == (head, False)


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b'{"a": 1}', b'{"a": "b"}', b"\xff", b"[" * 100_000])
def test_a_note_that_cannot_be_read_is_named(xlwh, made, content):
    (made.root / repairing.NOTE).parent.mkdir(exist_ok=True)
    (made.root / repairing.NOTE).write_bytes(content)
    code, _, err = xlwh("repair")
    assert (code, "repair.json cannot be read" in err, "xlwh materialize" in err) == (1, True, True)


def test_without_a_study_it_says_what_to_run(xlwh, made):
    flip(path_of(made, TOKENS))
    before = made.entries()
    code, out, err = xlwh("repair", "--study", "elsewhere.toml")
    assert code == 1
    assert "wrong_digest" in out
    assert "xlwh repair --study STUDY" in err
    assert made.entries() == before


def test_what_the_study_does_not_name_stays(xlwh, made):
    flip(path_of(made, TOKENS))
    text = Path("study.toml").read_text()
    Path("study.toml").write_text(text.replace("[models.a]", "[models.c]"))
    before = made.entries()
    code, _, err = xlwh("repair")
    assert code == 1
    assert "does not name it" in err
    assert made.entries() == before


def test_what_cannot_be_made_again_stays_and_the_rest_is_repaired(xlwh, made):
    """What only the run would find, what planning finds, and what is made from such files."""
    other = Slot("tokens", ("a", "de"), "nli")
    flip(path_of(made, EXAMPLES))
    flip(path_of(made, other))
    flip(path_of(made, TOKENS))
    next(Path("nli").glob("*de*")).unlink()
    before = {entry.slot: entry for entry in made.entries()}
    for arguments in (["repair", "--dry-run"], ["repair", "--workers", "none"], ["repair"]):
        assert {entry.slot: entry for entry in made.entries()} == before
        code, out, err = xlwh(*arguments)
        assert code == 1, err
        assert ("Would make 1 damaged file again." in out) is (arguments[-1] == "--dry-run")
        assert f"{EXAMPLES} cannot be made again, and stays as it is: " in err
        assert f"{other} cannot be made again, and stays as it is: " in err
        assert f"{TOKENS} cannot" not in err
    after = {entry.slot: entry for entry in made.entries()}
    assert {slot for slot in before if after[slot] != before[slot]} == {TOKENS}
    assert {finding.slot for finding in made.check(deep=True) if finding.slot} == {EXAMPLES, other}


def test_what_a_check_of_the_study_refuses_stays(xlwh, made):
    """No plan misses it: only making would."""
    flip(path_of(made, TOKENS))
    Path("sql").mkdir()
    Path("sql/mine.sql").write_text("-- kept: no\nselect * from nothing_of_the_kind")
    before = made.entries()
    for arguments in (["--dry-run"], []):
        code, _, err = xlwh("repair", *arguments)
        assert code == 1
        assert f"{TOKENS} cannot be made again, and stays as it is: " in err
        assert "nothing_of_the_kind" in err
        assert made.entries() == before


def test_what_another_process_replaced_meanwhile_is_left_to_it(xlwh, made, monkeypatch):
    frame = made.scan("tokens", model="a", language="en").collect()
    flip(path_of(made, EXAMPLES))
    flip(path_of(made, TOKENS))
    sound = made.current(TOKENS)
    genuine, replaced = repairing.planned, []

    def planned(*arguments):
        found = genuine(*arguments)
        replaced[:] = made.write({TOKENS: frame}, sound.fingerprint)
        return found

    monkeypatch.setattr(repairing, "planned", planned)
    code, _, err = xlwh("repair")
    assert code == 0, err
    assert made.current(TOKENS) == replaced[0]
    assert EXAMPLES not in {finding.slot for finding in made.check(deep=True)}


@pytest.mark.parametrize("name", ["*.parquet", "columns.json", "*.sha256"])
def test_kept_rows_are_computed_again(xlwh, made, name):
    made.build_catalogue()
    flip(next((made.root / KEPT / "fertility").rglob(name)))
    code, out, _ = xlwh("check", "--deep")
    assert code == 1
    assert "wrong_digest" in out
    head = made.manifest.head()
    assert xlwh("repair")[0] == 0
    assert (made.check(deep=True), made.manifest.head()) == ([], head)


def test_a_quick_check_tells_what_it_cannot_read(xlwh, made):
    path = path_of(made, PARALLELISM)
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    path.write_bytes(content)
    code, out, err = xlwh("check")
    assert (code, "Run: xlwh check --deep" in " ".join(out.split())) == (1, True), err


def test_nothing_is_made_from_a_damaged_file(xlwh, made):
    """Neither rows of a step, nor kept ones: they would be stored as sound."""
    flip(path_of(made, EXAMPLES))
    flip(path_of(made, TOKENS))
    before = {entry.slot: entry for entry in made.entries()}
    code, _, err = xlwh("materialize", "tokens", "--language", "de", "--force", "--keep-going")
    assert code == 1
    # By the survey, and at the end.
    told, *_ = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert "Error: tables/examples/dataset=nli/language=de/dev-" in told
    assert f"of {EXAMPLES} is damaged: its bytes are not those that were written" in told
    assert told.endswith("Run: xlwh repair")
    assert {entry.slot: entry for entry in made.entries()} == before
    shutil.rmtree(made.root / KEPT)
    outcome = made.keep_views(["fertility"])["fertility"]
    assert f"of {TOKENS} is damaged" in outcome.error
    # Those of the three other partitions are kept.
    assert len(list((made.root / KEPT / "fertility").rglob("*.parquet"))) == 3
    assert xlwh("repair")[0] == 0
    assert made.keep_views(["fertility"])["fertility"].error is None


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_file_that_is_not_all_there_is_made_again_by_a_run(xlwh, made, damage):
    damage(path_of(made, TOKENS))
    code, _, err = xlwh("materialize", "tokens")
    assert code == 0, err
    assert "Will be made anew: 1 partition of tokens: files are gone, were cut short or cannot be read" in err
    assert made.check(deep=True) == []


def test_what_check_says_it_looked_at(xlwh, made):
    code, out, _ = xlwh("check", "tokens", "--sample", "50%")
    assert code == 0
    assert "Looked at 4 files of tokens." in out
    assert "2 of 4, drawn at random, were read" in out
    assert "All of them were read" in xlwh("check", "--deep")[1]
    for wrong in ("0", "-1", "150%", "1.5", "nan", "inf%", "some"):
        assert xlwh("check", "--sample", wrong)[0] == 2, wrong
    assert xlwh("check", "nothing")[0] == 1
