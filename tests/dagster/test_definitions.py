"""What Dagster is told: assets, partitions, dependencies, checks, metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

import xlwh
from dagster_project import definitions
from dagster_project.checks import checks_of
from dagster_project.definitions import build, study_file
from dagster_project.jobs import waves
from dagster_project.partitions import stage, to_key, to_partition
from dagster_project.resources import RANGE_END, RANGE_START
from xlwh.steps.base import Key
from xlwh.steps.plan import STEPS, partitions
from xlwh.store.views import load_views
from xlwh.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def graph(study, root):
    definitions = build(study, root)
    dg.Definitions.validate_loadable(definitions)
    return definitions.resolve_asset_graph()


def _node(graph, name):
    return graph.get(dg.AssetKey(name))


def test_an_asset_per_table_and_view(graph):
    views = {view.name for view in load_views()}
    found = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert found == {*TABLES, *views}


def test_partitions(graph):
    def keys(name):
        definition = _node(graph, name).partitions_def
        return None if definition is None else definition.get_partition_keys()

    assert keys("published_results") is None
    assert keys("models") == ["base", "tuned", "other"]
    assert set(keys("examples")) == {f"{d}|{lang}" for d in ("d1", "d2") for lang in ("en", "de", "sw")}
    assert keys("rejected_rows") == keys("examples")
    for name in (
        "tokens",
        "predictions",
        "attribution_runs",
        "token_attributions",
        "word_vectors",
        "ccta_pairs",
    ):
        assert set(keys(name)) == {
            f"{lang}|{m}" for m in ("base", "tuned", "other") for lang in ("en", "de", "sw")
        }
        assert _node(graph, name).partitions_def.partition_dimension_names == ["language", "model"]
    for view in ("ccta", "task_scores"):
        assert keys(view) is None


def test_keys_there_and_back():
    for name, key in (
        ("examples", Key(dataset="d", language="en")),
        ("models", Key("m")),
        ("tokens", Key("m", language="en")),
    ):
        assert to_key(STEPS[name], to_partition(STEPS[name], key)) == key, name
    assert to_partition(STEPS["published_results"], Key()) == "", (
        "a step without partitions has no key of one"
    )
    assert to_partition(STEPS["tokens"], Key("m", language="en")) == "en|m"


def _parents(graph, child, partition, parent):
    node = _node(graph, child)
    subset = node.partitions_def.subset_with_partition_keys([partition])
    mapped = graph.get_partition_mapping(node.key, dg.AssetKey(parent))
    upstream = _node(graph, parent).partitions_def
    found = mapped.get_upstream_mapped_partitions_result_for_partitions(subset, node.partitions_def, upstream)
    return set(found.partitions_subset.get_partition_keys())


def test_what_a_partition_is_made_from(graph):
    assert _parents(graph, "tokens", "de|tuned", "examples") == {"d1|de"}
    assert _parents(graph, "tokens", "de|other", "examples") == {"d1|de", "d2|de"}
    assert _parents(graph, "tokens", "de|tuned", "models") == {"tuned"}
    assert _parents(graph, "token_attributions", "de|tuned", "predictions") == {
        "de|tuned",
        "en|tuned",
        "sw|tuned",
    }
    assert _parents(graph, "ccta_pairs", "de|tuned", "token_attributions") == {
        "de|tuned",
        "en|tuned",
        "sw|tuned",
    }
    assert _parents(graph, "ccta_pairs", "de|tuned", "tokens") == {"de|tuned", "en|tuned", "sw|tuned"}
    assert _parents(graph, "word_vectors", "de|tuned", "tokens") == {"de|tuned", "de|base", "de|other"}
    assert len(_parents(graph, "models", "tuned", "examples")) == 6


def test_what_reads_other_languages_is_never_in_the_same_backfill_run_as_they(graph):
    """Dagster runs assets of the same partitions and the same policy together."""

    def together(table):
        return _node(graph, table).partitions_def, _node(graph, table).backfill_policy

    for step in STEPS.values():
        for read in step.reads:
            if read.across:
                mine = together(step.tables[0])
                assert all(mine != together(table) for table in STEPS[read.step].tables)
    for name in ("examples", "models", "tokens", "predictions", "lexicon", "activations", "concepts"):
        assert _node(graph, name).backfill_policy == dg.BackfillPolicy.single_run()


def test_no_limit_on_backfills_is_made_up(graph, study):
    """None cuts what is asked for, and each is the number of partitions, give or take how often languages wait."""
    for step in STEPS.values():
        policy = _node(graph, step.tables[0]).backfill_policy
        if policy is not None and policy.max_partitions_per_run is not None:
            assert 0 <= policy.max_partitions_per_run - len(partitions(study, step)) <= 2


def test_stages():
    assert {name: stage(step) for name, step in STEPS.items() if stage(step)} == {
        "attributions": 1,
        "word_vectors": 1,
        "perturbations": 1,
        "attribution_probes": 1,
        "pruning_evaluations": 1,
        "ccta_pairs": 2,
    }


@pytest.mark.parametrize("verb", ["materialize", "force"])
def test_every_table_can_be_made_from_the_interface(study, root, fake, verb):
    repository = build(study, root).get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if job.name.startswith(f"{verb}_")]
    assert sorted(job.name for job in jobs)[5:7] == [
        f"{verb}_6_tokens_to_activations",
        f"{verb}_7_attributions_to_pruning_evaluations",
    ]
    made = [key.to_user_string() for job in jobs for key in job.asset_layer.executable_asset_keys]
    assert sorted(made) == sorted(TABLES)
    for job, wave in zip(sorted(jobs, key=lambda job: job.name), waves(), strict=True):
        assert all(table in job.description for step in wave for table in step.tables)
        # A job of one kind of partitions is one that the interface asks for partitions of.
        assert (job.partitions_def is None) == (not wave[0].dimensions)
        across = {read.step for step in wave for read in step.reads if read.across}
        assert not across & {step.name for step in wave}
    job = repository.get_job(f"{verb}_8_ccta_pairs")
    with dg.instance_for_test() as instance:
        tags = {RANGE_START: "en|base", RANGE_END: "de|base"}
        assert job.execute_in_process(instance=instance, tags=tags).success
    forced = verb == "force"
    assert fake.ran == [("ccta_pairs", Key("base", language=language), forced) for language in ("en", "de")]


def test_all_partitions_of_a_job_s_run_are_made(study, root, fake):
    """A backfill of a job names the first partition too, and Dagster then knows of no other."""
    named = {"dagster/partition/language": "en", "dagster/partition/model": "base"}
    job = build(study, root).get_repository_def().get_job("force_8_ccta_pairs")
    with dg.instance_for_test() as instance:
        tags = {RANGE_START: "en|base", RANGE_END: "de|other", **named}
        assert job.execute_in_process(instance=instance, tags=tags).success
    models = ("base", "tuned", "other")
    assert [key for _, key, _ in fake.ran] == [Key(m, language=lang) for m in models for lang in ("en", "de")]


def test_the_definitions_load_no_models_and_no_plots():
    heavy = ("torch", "transformers", "captum", "matplotlib", "scipy", "sklearn", "pyarrow", "ot", "faiss")
    code = f"import sys, dagster_project.definitions; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "[]\n"


def test_views_have_the_lineage_of_their_sql(graph):
    for view in load_views():
        if view.name not in TABLES:
            parents = {key.to_user_string() for key in _node(graph, view.name).parent_keys}
            assert parents == set(view.depends_on)
    assert {key.to_user_string() for key in _node(graph, "ccta").parent_keys} == {
        "ccta_pairs",
        "examples",
        "attribution_runs",
        "predictions",
    }


def test_groups_are_the_floors(graph):
    groups = {
        name: _node(graph, name).group_name for name in ("examples", "models", "token_attributions", "ccta")
    }
    assert groups == {
        "examples": "corpora",
        "models": "models",
        "token_attributions": "attribution",
        "ccta": "views",
    }
    assert _node(graph, "ccta_pairs").group_name == "consistency"


def test_assets_say_what_their_columns_are(graph):
    for name, contract in TABLES.items():
        node = _node(graph, name)
        assert node.description == contract.__doc__
        schema = node.metadata["dagster/column_schema"]
        schema = getattr(schema, "schema", schema)
        assert [column.name for column in schema.columns] == list(contract.columns())
        assert all(column.description for column in schema.columns)


def test_models_share_the_accelerator(study, root, monkeypatch):
    job = build(study, root).resolve_implicit_global_asset_job_def()
    assert not any(node.definition.pool for node in job.graph.nodes)
    # Where runs share an accelerator.
    monkeypatch.setattr(definitions, "take_turns", lambda workers: True)
    job = build(study, root).resolve_implicit_global_asset_job_def()
    pools = {node.name: node.definition.pool for node in job.graph.nodes}
    pooled = {name for name, pool in pools.items() if pool == "gpu"}
    assert pooled == {step.name for step in STEPS.values() if step.runs_model}
    assert pooled >= {"models", "predictions", "attributions", "perturbations"}


def test_every_table_is_checked(graph):
    for name in TABLES:
        checks = {key.name for key in graph.get_check_keys_for_assets({dg.AssetKey(name)})}
        assert checks == set(checks_of(name))
        assert "contract" in checks
        assert all(test.__doc__ for test in checks_of(name).values())
    assert "converged" in checks_of("attribution_runs")
    assert "probabilities_sum_to_1" in checks_of("predictions")


def test_a_study_without_models_loads(root, study):
    bare = study.model_copy(update={"models": {}})
    dg.Definitions.validate_loadable(build(bare, root))


def test_the_environment_names_the_study(monkeypatch):
    monkeypatch.setenv("XLWH_STUDY", "/somewhere/study.toml")
    assert study_file() == Path("/somewhere/study.toml")
    monkeypatch.delenv("XLWH_STUDY")
    assert study_file().name == "study.toml"


@pytest.mark.slow
def test_dg_check_defs(tmp_path):
    environment = {
        **os.environ,
        "XLWH_WAREHOUSE": str(tmp_path / "warehouse"),
        "DAGSTER_HOME": "",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "HOME": str(tmp_path),
    }
    dg_command = Path(sys.executable).with_name("dg")
    ran = subprocess.run(
        [dg_command, "check", "defs"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All definitions loaded successfully" in ran.stdout + ran.stderr


def test_a_study_s_own_sql_file_is_an_asset(study, root, tmp_path):
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "surprises.sql").write_text("-- Wrong predictions.\nselect * from predictions")
    definitions = build(study.model_copy(update={"folder": tmp_path}), root)
    node = _node(definitions.resolve_asset_graph(), "surprises")
    assert (node.description, node.group_name) == ("Wrong predictions.", "views")
    assert {key.to_user_string() for key in node.parent_keys} == {"predictions"}
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey("surprises")]
    )
    assert result.success
    with xlwh.connect(root) as database:
        assert database.execute("select count(*) from surprises").fetchall() == [(0,)]
