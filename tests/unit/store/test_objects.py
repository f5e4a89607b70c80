"""Warehouses in an object store: what is there, what is here, and what happens when either is damaged or gone."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from datetime import timedelta

import polars as pl
import pytest

import xlwh
from xlwh.errors import StoreError
from xlwh.store import Slot, Warehouse
from xlwh.store import objects as module
from xlwh.store.move import to_postgres, to_sqlite
from xlwh.store.objects import Objects, behind
from xlwh.store.postgres import Address
from xlwh.store.roots import LOCAL, is_url, name_of, root_of, url_of
from xlwh.store.take import take

from made_up import frame_of

TOKENS = Slot("tokens", ("m", "de"), "nli")
OTHER = Slot("tokens", ("m", "fr"), "nli")


@pytest.fixture
def node(s3, tmp_path, monkeypatch):
    """Makes this process one on a machine of that name."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)

    def become(name):
        monkeypatch.setenv(LOCAL, str(tmp_path / name))

    become("one")
    return become


@pytest.fixture
def url(node, postgres):
    """A new warehouse in the object store."""
    name = secrets.token_hex(6)
    url = f"s3://tests/{name}/wh"
    to_postgres(root_of(url), Address(postgres.url(), f"xlwh_{name}"))
    return url
