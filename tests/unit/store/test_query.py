"""Statements that may run, and hostile ones that may not, alone and against a real warehouse."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from xlwh.errors import SqlError
from xlwh.store.opening import query
from xlwh.store.query import checked

READING = [
    "select 1",
    "select 1;",
    "-- first\nselect 'copy; drop' as \"insert\" /* ; */",
    "with a as (select 1 as x) select * from a",
    "with a as materialized (from models) from a",
    "with recursive r as (select 1 as x union all select x + 1 from r where x < 3) from r",
    "values (1), (2)",
    "from models",
    "table models",
    "(select 1) union all (select 2) order by 1 limit 1",
    "describe models",
    "describe select 1",
    "show tables",
    "show all tables",
    "summarize models",
    "explain select 1",
    "explain analyze select 1",
    "explain (format json) select 1",
    "explain (analyze, format json) select 1",
    "explain (select 1)",
    "/* a */ explain -- b\n from models",
    "pivot models on kind using count(*) group by model",
    "with a as (from models) pivot a on kind using count(*) group by model",
    "explain pivot models on kind using count(*) group by model",
    "from models pivot (count(*) for kind in ('hub'))",
    "unpivot (select 1 as a, 2 as b) on a, b",
    "select list_transform([1, 2], lambda x: x + 1)",
    "select 'é' as \"ü\", count(*) from models where model = 'ñ'",
]

HOSTILE = [
    "",
    "-- nothing",
    "selec 1",
    "select 1; select 2",
    "select 1; drop view models",
    "copy (select 1) to '{root}/x.csv'",
    "copy (select 1) to '{root}/tables/x.parquet'",
    "copy models from '/etc/passwd'",
    "with x as (copy models to '{root}/tables/x.csv') select 1",
    "select * from (with x as (copy models to '{root}/tables/x.csv') select 1)",
    "select 1 where 1 in (with x as (copy models to '{root}/tables/x.csv') select 1)",
    "explain analyze copy (select 1) to '{root}/tables/x.csv'",
    "explain (analyze) copy (select 1) to '{root}/tables/x.csv'",
    "explain analyze with x as (copy models to '{root}/tables/x.csv') select 1",
    "/* select */ explain /* ( */ analyze copy (select 1) to '{root}/tables/x.csv'",
    "copy (pivot models on kind using count(*)) to '{root}/tables/x.csv'",
    "with x as (copy models to '{root}/tables/x.csv') pivot models on kind using count(*)",
    "pivot (from query('copy models to ''{root}/tables/x.csv''')) on kind using count(*)",
    "from query('with x as (copy models to ''{root}/tables/x.csv'') select 1')",
    "from \"QUERY\"('select 1')",
    "from system.main.query('select 1')",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "with x as (insert into models values (1) returning *) from x",
    "with x as (delete from models returning *) from x",
    "export database '{root}/tables/x'",
    "import database '{root}/tables/x'",
    "attach '{root}/tables/x.duckdb'",
    "attach '{root}/manifest.sqlite' as m (type sqlite)",
    "detach catalog",
    "install httpfs",
    "load json",
    "set enable_external_access = true",
    "set global allowed_directories = ['/']",
    "reset lock_configuration",
    "pragma enable_external_access",
    "pragma database_list",
    "call pragma_version()",
    "create table x as select 1",
    "create temp table x as select 1",
    "create or replace view models as select 1",
    "create macro x() as 1",
    "create secret (type s3, key_id 'a', secret 'b')",
    "insert into models values (1)",
    "update models set kind = 'x'",
    "delete from models",
    "truncate models",
    "merge into models using models as s on true when matched then delete",
    "drop view models",
    "alter view models rename to x",
    "comment on view models is 'x'",
    "begin",
    "use temp",
    "prepare x as select 1",
    "execute x",
    "vacuum",
    "checkpoint",
    "from checkpoint()",
    "from force_checkpoint()",
    "from enable_logging()",
    "from truncate_duckdb_logs()",
    "select write_log('x')",
    "select getenv('HOME')",
    "from python_arrow_scan(1, 2, 3)",
]

OUTSIDE = [
    "select * from read_text('/etc/passwd')",
    "from read_blob('/proc/self/environ')",
    "select * from read_csv('/etc/passwd')",
    "from sniff_csv('/etc/passwd')",
    "select * from '/etc/passwd'",
    "from '/etc/hosts.csv'",
    "select * from glob('/etc/*')",
    "from glob('{root}/*')",
    "from read_text('{root}/manifest.sqlite')",
    "from read_text('{root}/tables/../manifest.sqlite')",
    "from read_parquet('/tmp/*.parquet')",
    "from parquet_metadata('/etc/passwd')",
    "from read_json('https://example.com/x.json')",
    "from read_text('{root}/tables/outside')",
    "from duckdb_secrets()",
    "select getvariable('x') from read_text('/etc/' || 'passwd')",
]


@pytest.fixture
def root(warehouse, frames) -> Path:
    warehouse.write({frames.ATTRIBUTIONS: frames.attributions()}, "mark")
    warehouse.build_catalogue()
    (warehouse.root / "tables" / "outside").symlink_to("/etc/passwd")
    return warehouse.root


def state(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("sql", READING)
def test_reading_statements_pass(sql):
    assert checked(sql).rstrip(";") in sql.strip()


def test_reading_statements_run(root):
    for sql in READING:
        with query(root, sql) as result:
            result.fetchall()


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_statements_are_refused(sql):
    with pytest.raises(SqlError):
        checked(sql.replace("{root}", "/tmp"))


def test_hostile_statements_change_nothing(root):
    before = state(root)
    for sql in [*HOSTILE, *OUTSIDE]:
        with pytest.raises(SqlError):
            query(root, sql.replace("{root}", str(root)))
    assert state(root) == before


def test_the_sandbox_holds_without_the_parser(warehouse, root):
    """What the parser would let through by mistake is still kept inside the tables by DuckDB itself."""
    import duckdb

    before = state(root)
    with warehouse.connect() as database:
        for sql in [
            "copy (select 1) to '/tmp/xlwh-test-escape.csv'",
            "copy (select 1) to '{root}/x.csv'",
            "with x as (copy models to '{root}/x.csv') select 1",
            "create table x as select 1",
            "attach '/tmp/xlwh-test-escape.duckdb'",
            "attach ':memory:' as elsewhere",
            "set enable_external_access = true",
            "set allowed_directories = ['/']",
            "set lock_configuration = false",
            "install httpfs",
            *OUTSIDE,
        ]:
            with pytest.raises(duckdb.Error):
                database.execute(sql.replace("{root}", str(root))).fetchall()
    assert state(root) == before
    assert not Path("/tmp/xlwh-test-escape.csv").exists()


def test_a_query_that_fails_says_why(root):
    with pytest.raises(SqlError, match=r"Binder Error.*nonsense"):
        query(root, "select nonsense from models")
    with query(root, "select count(*) as n, 'é' as e from token_attributions") as result:
        assert [column[0] for column in result.description] == ["n", "e"]
        assert result.fetchall() == [(6, "é")]
