"""Ray: nodes that join are used and lost ones survived, and what is wrong with a cluster is one line."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from xlwh.errors import StoreError, XlwhError
from xlwh.models import Zoo
from xlwh.steps import cluster, runner
from xlwh.steps.base import Key
from xlwh.steps.cluster import Facts, _Actor, _require_answer
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, partitions
from xlwh.steps.workers import Choice
from xlwh.store import Warehouse
from xlwh.study import load


@pytest.fixture
def context(tiny_study, tmp_path):
    study, warehouse = load(tiny_study), Warehouse(tmp_path / "warehouse", create=True)
    return Context(study, warehouse, Zoo(study, warehouse))


class Silent:
    """A board that nobody reads."""

    def __init__(self):
        self.put = self

    def remote(self, place, report):
        return None


def loaded(context, facts, root=None, is_of_one_host=True):
    root = context.warehouse.root if root is None else root
    return _Actor(context.study, str(root), facts, is_of_one_host, Silent(), 0).load()


def test_a_node_that_is_not_fit_says_why(context, tmp_path):
    here = Facts.here()
    other = loaded(context, replace(here, versions={**here.versions, "polars": "0.1"}))
    assert isinstance(other, XlwhError)
    assert f"polars {here.versions['polars']} instead of 0.1. Rows could differ" in str(other)
    away = replace(here, host="head", machine="another")
    assert isinstance(one := loaded(context, away), StoreError)
    assert "is another machine than head, and the manifest" in str(one)
    assert isinstance(absent := loaded(context, away, tmp_path / "nowhere", is_of_one_host=False), StoreError)
    assert f"There is no warehouse at {tmp_path / 'nowhere'} on Ray node {here.host}" in str(absent)
    assert loaded(context, away, is_of_one_host=False) == os.getpid()


def test_where_no_cluster_answers(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(
            XlwhError, match=f"No Ray cluster answers at {address} .Connection refused.*ray start"
        ):
            _require_answer(address)
    with pytest.raises(XlwhError, match="ADDRESS is HOST:PORT"):
        _require_answer("head")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(XlwhError, match=r"not installed. Run: pip install 'xlwh\[ray\]'"):
        cluster._library(is_local=False)


@pytest.mark.slow
def test_a_node_that_joins_is_used_and_one_that_is_lost_is_survived(context):
    ray, tuned = cluster._library(is_local=True), Key("tuned")
    from ray.cluster_utils import Cluster

    for step in ("examples", "parallelism"):
        for key in partitions(context.study, STEPS[step]):
            runner.run(STEPS[step], context, key)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    first, begins, notes = nodes.add_node(num_cpus=1), list[Key](), list[str]()

    def begun(key):
        begins.append(key)
        if begins.count(tuned) == 1 and key == tuned:
            # A second node comes, and the one that is at it goes.
            nodes.add_node(num_cpus=1)
            threading.Timer(0.5, nodes.remove_node, [first], {"allow_graceful": False}).start()
        return lambda *report: None

    choice = Choice(2, "as asked for", ray=nodes.address)
    try:
        with closing(choice.hire(context.study, context.warehouse.root)) as crew:
            crew.tell = notes.append
            made = dict(
                crew.make(STEPS["models"], context, partitions(context.study, STEPS["models"]), begun)
            )
        assert {key.model: result.status for key, result in made.items()} == dict.fromkeys(
            ("base", "plain", "tuned"), "written"
        )
        assert begins.count(tuned) == 2
        assert any("tuned: its worker ended" in note for note in notes), notes
    finally:
        ray.shutdown()
        nodes.shutdown()
