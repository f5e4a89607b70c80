"""A study in a warehouse of an object store: the same tables as in a folder, from every machine, whatever is killed."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import s3_server
from stored_tables import assert_same, contents

from xlwh.cli import main
from xlwh.models import Zoo
from xlwh.steps import runner
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.store import Warehouse
from xlwh.store.move import to_postgres
from xlwh.store.objects import behind, root_of
from xlwh.store.postgres import Address
from xlwh.store.roots import LOCAL
from xlwh.study import load


@pytest.fixture(scope="module")
def study(make_study, tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study") / "tiny")


@pytest.fixture(scope="module")
def node(s3, tmp_path_factory):
    """Makes this process one on the machine of a name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        folder = tmp_path_factory.mktemp("nodes")

        def become(name):
            patch.setenv(LOCAL, str(folder / name))

        become("one")
        yield become


def make(study, where):
    """Everything of a study, in this process: what became of each partition."""
    warehouse = Warehouse(where, create=True)
    context = Context(load(study), warehouse, Zoo(load(study), warehouse))
    return {
        (step.name, key): runner.run(step, context, key).status
        for step in STEPS.values()
        for key in partitions(context.study, step)
    }


def new_url(postgres):
    name = secrets.token_hex(6)
    url = f"s3://{s3_server.BUCKET}/{name}/wh"
    to_postgres(root_of(url), Address(postgres.url(), f"xlwh_{name}"))
    return url


@pytest.fixture(scope="module")
def embedded(study, tmp_path_factory):
    """The study in a folder."""
    where = tmp_path_factory.mktemp("embedded") / "warehouse"
    make(study, where)
    return where


@pytest.fixture(scope="module")
def url(study, node, postgres):
    """The study in an object store, made on the machine `one`."""
    url = new_url(postgres)
    make(study, url)
    return url


def test_the_tables_are_those_of_a_folder_and_fresh_on_every_machine(study, embedded, url, node, downloads):
    assert_same(contents(embedded), contents(url))
    assert not downloads
    node("two")
    assert set(make(study, url).values()) <= {"fresh", "not_applicable"}
    read = {key.split("/")[1] for key in downloads if key.startswith("tables/")}
    # What decides whether something is fresh is read, and nothing of what is large.
    assert not read & {"token_attributions", "tokens", "activations"}
    assert_same(contents(embedded), contents(url))
    assert not [each for each in Warehouse(url).check(deep=True) if each.kind != "stale_catalogue"]


def test_a_lost_model_and_a_damaged_table_are_made_again(study, embedded, url, node):
    node("three")
    warehouse = Warehouse(url)
    objects = behind(warehouse.root)
    assert objects is not None
    model = next(each for each in objects.bucket.listing("models") if ".safetensors@" in each.key)
    table = next(entry for entry in warehouse.entries() if entry.slot.table == "tokens")
    objects.remove([model.key, table.file])
    objects.bucket.put(table.file, b"x" * table.size_bytes)
    found = [each for each in warehouse.check(deep=True) if each.kind != "stale_catalogue"]
    assert {each.kind for each in found} == {"missing_file", "wrong_digest"}
    assert main(["repair", "--study", str(study), "--warehouse", url]) == 0
    objects.forget_listing()
    assert not [each for each in Warehouse(url).check(deep=True) if each.kind != "stale_catalogue"]
    assert_same(contents(embedded), contents(url))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["processes:2", "ray"])
def test_workers_make_the_same_tables(study, embedded, node, postgres, workers):
    node(f"head-{workers.partition(':')[0]}")
    url = new_url(postgres)
    program = "import sys; from xlwh.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "materialize", "--workers", workers]
    result = subprocess.run(
        [*command, "--study", str(study), "--warehouse", url],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert result.returncode == 0, result.stderr
    assert_same(contents(embedded), contents(url))
