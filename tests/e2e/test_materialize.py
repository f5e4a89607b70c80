"""A tiny study through the command line: everything once, nothing twice, and what happens when something breaks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.instance import instance_of
from xlwh.cli import main
from xlwh.store import Warehouse
from xlwh.store.connect import NAME, read_info


def _json(text):
    return json.loads(text)


@pytest.fixture(scope="module")
def template(tmp_path_factory, make_study):
    """A folder with the tiny study and the warehouse that it was materialised into."""
    folder = tmp_path_factory.mktemp("template")
    study = make_study(folder / "tiny")
    assert main(["materialize", "--study", str(study), "--warehouse", str(folder / "warehouse")]) == 0
    return folder


@pytest.fixture
def materialised(template, xlwh):
    """Copies of both, the warehouse as ./warehouse: path of the study file."""
    shutil.copytree(template, ".", dirs_exist_ok=True)
    return Path("tiny/study.toml").absolute()


def test_a_study_end_to_end(materialised, xlwh, tmp_path):
    code, out, _ = xlwh("sql", "--json", "select * from ccta order by model, method, target_language")
    rows = _json(out)
    assert code == 0
    assert {(r["model"], r["source_language"]) for r in rows} == {("plain", "en"), ("tuned", "en")}
    assert {r["target_language"] for r in rows} >= {"de", "es"}
    assert {r["method"] for r in rows} == {"lig", "random"}
    assert all(0 <= r["score"] <= 1 for r in rows)

    code, out, _ = xlwh("tables", "--count", "--json")
    listed = {row["name"]: row for row in _json(out)}
    assert listed["examples"]["rows"] == 9 * 4
    assert listed["models"]["rows"] == 3
    assert listed["predictions"]["rows"] == 2 * 3 * 9
    assert listed["ccta"]["kind"] == "view"
    assert listed["ccta"]["rows"] == len(rows)

    code, out, errors = xlwh("check", "--deep")
    assert (code, out.splitlines()[0]) == (0, "No faults found."), errors

    # The second time nothing is computed and no run is launched.
    before = Warehouse("warehouse").manifest.head()
    code, out, errors = xlwh("materialize", "--study", materialised)
    assert code == 0, errors
    assert "written" not in errors
    assert Warehouse("warehouse").manifest.head() == before

    # Dagster knows what was done.
    with instance_of(Warehouse("warehouse").root) as (instance, _):
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}
        keys = {key.to_user_string() for key in instance.get_asset_keys()}
        assert {
            "examples",
            "rejected_rows",
            "token_attributions",
            "ccta_pairs",
            "ccta",
            "task_scores",
        } <= keys
        done = instance.get_materialized_partitions(dg.AssetKey("ccta_pairs"))
        assert "es|tuned" in done


def test_only_what_changed_is_made_again(materialised, xlwh):
    corpus = materialised.parent / "data" / "nli" / "dev-es.tsv"
    lines = corpus.read_text(encoding="utf-8").splitlines(keepends=True)
    # A row less would no longer be parallel to the other languages, and refused.
    corpus.write_text("".join([*lines[:-1], lines[-1].replace("\t", " Así.\t", 1)]), encoding="utf-8")
    warehouse = Warehouse("warehouse")
    before = {entry.slot: entry.commit for entry in warehouse.entries()}
    code, _, errors = xlwh("materialize", "--study", materialised)
    assert code == 0, errors
    changed = {str(e.slot) for e in warehouse.entries() if before.get(e.slot) != e.commit}
    assert any(slot.startswith("tokens/model=tuned/language=es") for slot in changed)
    assert all("language=es" in slot or slot == "parallelism/dataset=nli/all" for slot in changed), changed


def test_a_partition_that_fails_leaves_the_others(tiny_study, xlwh):
    corpus = tiny_study.parent / "data" / "nli" / "dev-de.tsv"
    saved = corpus.rename(corpus.with_suffix(".saved"))
    # It is told before any work.
    code, out, errors = xlwh("materialize", "--study", tiny_study)
    assert code == 1
    assert errors.count("Error: ") == 1, errors
    assert "study.toml, line 8: Dataset `nli`" in errors
    assert "Nothing was made" in errors
    assert not Path("warehouse").exists()
    code, out, errors = xlwh("materialize", "--keep-going", "--study", tiny_study)
    assert code == 1
    assert "Traceback" not in out + errors
    assert "dev-de.tsv" in errors or "`nli`" in errors
    _, out, _ = xlwh("sql", "--json", "select distinct target_language as l from ccta_pairs order by all")
    assert [row["l"] for row in _json(out)] == ["en", "es"]

    # Dagster shows the failed partition as failed and the others as made.
    with instance_of(Warehouse("warehouse").root) as (instance, _):
        made = instance.get_materialized_partitions(dg.AssetKey("examples"))
        assert "nli|de" not in made
        assert {"nli|en", "nli|es"} <= made
        assert "de|plain" not in instance.get_materialized_partitions(dg.AssetKey("tokens"))

    # Mending it and saying the same again does what is left.
    shutil.move(saved, corpus)
    code, _, errors = xlwh("materialize", "--study", tiny_study)
    assert code == 0, errors
    _, out, _ = xlwh("sql", "--json", "select distinct target_language as l from ccta_pairs order by all")
    assert [row["l"] for row in _json(out)] == ["de", "en", "es"]


def test_parts_of_a_study(tiny_study, xlwh):
    code, _, errors = xlwh("materialize", "+tokens", "-m", "plain", "-l", "de", "--study", tiny_study)
    assert code == 0, errors
    slots = {str(entry.slot) for entry in Warehouse("warehouse").entries()}
    assert slots == {
        "examples/dataset=nli/language=de/dev",
        "rejected_rows/dataset=nli/language=de/dev",
        "models/model=plain/all",
        "tokens/model=plain/language=de/nli",
    }
    # An input that is missing is named, with the command that makes it.
    code, _, errors = xlwh("materialize", "tokens", "-m", "plain", "-l", "es", "--study", tiny_study)
    assert code == 1
    assert "xlwh materialize examples" in errors
    code, _, errors = xlwh("materialize", "tokenz", "--study", tiny_study)
    assert code == 1
    assert "Did you mean `tokens`, " in errors


def test_force_makes_a_partition_anew(materialised, xlwh):
    warehouse = Warehouse("warehouse")
    before = {entry.slot: entry.commit for entry in warehouse.entries()}
    kept = read_info(warehouse.root / NAME).kept
    assert "task_scores" in kept
    code, _, errors = xlwh(
        "materialize", "predictions", "-m", "plain", "-l", "es", "--force", "--study", materialised
    )
    assert code == 0, errors
    changed = {str(e.slot) for e in warehouse.entries() if before[e.slot] != e.commit}
    assert changed == {"predictions/model=plain/language=es/nli"}
    # The rows of views that were kept are kept again, where they are made from what changed.
    again = read_info(warehouse.root / NAME).kept
    assert again.keys() == kept.keys()
    assert again["task_scores"] != kept["task_scores"]
    assert again["fertility"] == kept["fertility"]


@pytest.mark.slow
def test_a_row_that_a_language_lacks_is_told_and_nothing_is_joined(materialised, xlwh):
    nli = materialised.parent / "data" / "nli" / "dev-de.tsv"
    rows = nli.read_text(encoding="utf-8").splitlines(keepends=True)
    nli.write_text("".join(rows[:4] + rows[5:]), encoding="utf-8")
    code, _, errors = xlwh("materialize", "--study", materialised)
    told = " ".join(errors.split())
    assert code == 1
    assert "`de` differs from `en` from row 4 on" in told
    assert "9 rows against 8" in told
    code, out, _ = xlwh("check")
    assert code == 1
    assert "dataset nli: de and en, row 4:" in " ".join(out.split())
    # With the file mended, all is well again.
    nli.write_text("".join(rows), encoding="utf-8")
    assert xlwh("materialize", "--study", materialised)[0] == 0
    code, out, _ = xlwh("check")
    assert (code, out.splitlines()[0]) == (0, "No faults found.")
