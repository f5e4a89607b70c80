"""Where Dagster keeps the history of runs: beside the manifest, of whichever kind that is."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import yaml

from xlwh.errors import StoreError
from xlwh.store.place import is_embedded, read_place
from xlwh.store.postgres import Address, Database, PgConnection

_BEGIN = "# The history of runs is in the database of the manifest; xlwh writes and removes these lines."
_END = "# End of these lines."
_BLOCK = re.compile(rf"{re.escape(_BEGIN)}\n.*?{re.escape(_END)}\n", re.DOTALL)


def with_storage(config: str, root: Path) -> str:
    """A configuration of Dagster, with the storage that goes with the manifest of a warehouse.

    One that has a storage of its own keeps it. `StoreError` where the database does not take it.
    """
    rest = _BLOCK.sub("", config)
    if is_embedded(root) or _has_storage(rest):
        return rest
    if find_spec("dagster_postgres") is None:
        raise StoreError(
            "Dagster's history in PostgreSQL needs dagster-postgres. Run: pip install 'xlwh[postgres]'"
        )
    address = read_place(root).address
    schema = f"{address.schema}_dagster"
    _make(Database(address), schema)
    storage = f'storage:\n  postgres:\n    postgres_url: "{dagster_url(address, schema)}"\n'
    return f"{rest.rstrip()}\n{_BEGIN}\n{storage}{_END}\n"


def _has_storage(config: str) -> bool:
    found = yaml.safe_load(config)
    names = ("storage", "run_storage", "event_log_storage", "schedule_storage")
    return isinstance(found, dict) and any(name in found for name in names)


def dagster_url(address: Address, schema: str) -> str:
    """The URL of a schema as Dagster wants it: of SQLAlchemy, and without a password."""
    parts = urlsplit(address.url)
    query = dict(parse_qsl(parts.query))
    query["options"] = f"{query.get('options', '')} -c search_path={schema}".strip()
    return urlunsplit(parts._replace(scheme="postgresql+psycopg2", query=urlencode(query, quote_via=quote)))


def _make(database: Database, schema: str) -> None:
    def work(connection: PgConnection) -> None:
        [[there]] = connection.execute("select to_regnamespace(?) is not null", (schema,))
        if not there:
            connection.execute("select pg_advisory_xact_lock(hashtextextended(?, 0))", (schema,))
            connection.execute(f"create schema if not exists {schema}")

    database.write(work, lock=None)
