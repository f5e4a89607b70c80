"""Every check: passes on what is right, and names the partition where something is not."""

from __future__ import annotations

import dagster as dg
import polars as pl
import pytest

from dagster_project.checks import Verdict, checks_of
from dagster_project.definitions import build
from xlwh.store import Slot, Warehouse
from xlwh.tables import TABLES

DEFAULTS = {
    "model": "m",
    "dataset": "d",
    "split": "dev",
    "language": "en",
    "source_language": "en",
    "target_language": "en",
    "example_id": "1",
    "task": "sentence_pair",
    "method": "lig",
    "target_policy": "source_prediction",
    "unit": "word",
    "normalization": "abs",
    "alignment": "given",
    "score": 1.0,
    "probabilities": [0.25, 0.75],
    "logits": [0.0, 1.0],
    "vector": [1.0, 0.0],
    "parameters": "{}",
    "clustering": "d.k2",
    "corpus": "d",
    "scope": "monolingual:en",
    "stack": "encoder",
    "aggregation": "last",
    "algorithm": "faiss",
}


def _filled(table, row):
    columns = TABLES[table].columns()
    made = {}
    for name, column in columns.items():
        dtype = column.dtype
        empty = [] if isinstance(dtype, pl.List) else False if dtype == pl.Boolean else 0
        default = (
            None if column.nullable else (getattr(column, "min", 0) or 0) if dtype.is_numeric() else empty
        )
        default = name if dtype == pl.String and not column.nullable else default
        made[name] = row.get(name, DEFAULTS.get(name, default))
    return made


@pytest.fixture
def store(root):
    """Writes rows of tables, given in part, into the warehouse: one file for each partition and dataset."""
    warehouse = Warehouse(root)

    def write(**tables):
        for table, rows in tables.items():
            schema = TABLES[table].create_empty().schema
            frame = pl.DataFrame([_filled(table, row) for row in rows], schema=schema)
            keys = TABLES[table].partition_by
            for values, group in frame.partition_by(keys, as_dict=True).items():
                warehouse.write({Slot(table, values): group}, "f")
        return warehouse

    return write


def verdict(warehouse, table, check) -> Verdict:
    return checks_of(table)[check](warehouse, table)


def faults(warehouse, table, check):
    return verdict(warehouse, table, check).faults.to_dicts()


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_warehouse_passes(root, table):
    for name in checks_of(table):
        assert verdict(Warehouse(root), table, name).faults.is_empty()


def _replace(warehouse, table, change):
    [entry] = warehouse.entries(table)
    path = warehouse.root / entry.file
    frame = pl.read_parquet(path)
    path.unlink()
    if change is not None:
        change(frame).write_parquet(path, metadata={"xlwh.version": str(TABLES[table].version)})
    return entry


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (None, "the file is missing"),
        (lambda frame: frame.drop("num_draws"), "columns or types differ"),
        (lambda frame: frame.with_columns(pl.col("num_draws").cast(pl.Int64)), "columns or types differ"),
        (lambda frame: pl.concat([frame, frame]), "2 rows, 1 in the manifest"),
    ],
)
def test_contract(store, change, fault):
    warehouse = store(ccta_pairs=[{"num_draws": 3}])
    assert faults(warehouse, "ccta_pairs", "contract") == []
    entry = _replace(warehouse, "ccta_pairs", change)
    [found] = faults(warehouse, "ccta_pairs", "contract")
    assert found["file"] == str(entry.slot)
    assert fault in found["fault"]


def test_contract_version(store):
    warehouse = store(ccta_pairs=[{}])
    [entry] = warehouse.entries("ccta_pairs")
    path = warehouse.root / entry.file
    path.chmod(0o644)
    pl.read_parquet(path).write_parquet(path, metadata={"xlwh.version": "0"})
    assert "another version" in faults(warehouse, "ccta_pairs", "contract")[0]["fault"]


def test_finite(store):
    warehouse = store(token_attributions=[{"attribution": 0.5}])
    assert faults(warehouse, "token_attributions", "finite") == []
    _replace(
        warehouse,
        "token_attributions",
        lambda f: f.with_columns(attribution=pl.lit(float("nan"), pl.Float32)),
    )
    assert faults(warehouse, "token_attributions", "finite") == [{"model": "m", "language": "en", "rows": 1}]


def test_probabilities(store):
    warehouse = store(
        predictions=[
            {"language": "en"},
            {"language": "de", "probabilities": [0.5, 0.4]},
            {"language": "es", "probabilities": [1.0]},
        ]
    )
    found = faults(warehouse, "predictions", "probabilities_sum_to_1")
    assert [row["language"] for row in found] == ["de", "es"]


def test_probabilities_of_answers_and_translations(store):
    """An answer has one for its start and one for its end, a translation one per sub-token."""
    warehouse = store(
        predictions=[
            {"language": "en", "task": "question_answering", "probabilities": [0.5, 0.75]},
            {"language": "de", "task": "translation", "probabilities": [1.0] * 3, "logits": [9.0] * 3},
            {"language": "ar", "task": "translation", "probabilities": [], "logits": []},
            {"language": "es", "task": "translation", "probabilities": [1.5], "logits": [9.0]},
            {"language": "hi", "task": "question_answering", "probabilities": [0.5], "logits": [9.0, 9.0]},
        ]
    )
    found = faults(warehouse, "predictions", "probabilities_sum_to_1")
    assert [row["language"] for row in found] == ["es", "hi"]


def test_parallel_examples(store):
    good = [{"language": lang, "example_id": str(n)} for lang in ("en", "de") for n in range(4)]
    warehouse = store(examples=good)
    assert faults(warehouse, "examples", "same_ids_in_languages") == []
    bad = [
        {"dataset": "e", "language": lang, "example_id": f"{lang}{n}"}
        for lang in ("en", "de")
        for n in range(4)
    ]
    [found] = faults(store(examples=bad), "examples", "same_ids_in_languages")
    assert found["dataset"] == "e"


def test_accepted_or_rejected(store):
    warehouse = store(examples=[{"row_number": 1}], rejected_rows=[{"row_number": 2}])
    assert faults(warehouse, "rejected_rows", "accepted_or_rejected") == []
    warehouse = store(rejected_rows=[{"row_number": 1}])
    assert faults(warehouse, "rejected_rows", "accepted_or_rejected") == [
        {"dataset": "d", "language": "en", "rows": 1}
    ]


def test_predictions_of_what_was_tokenised(store):
    warehouse = store(tokens=[{"example_id": "1"}, {"example_id": "2"}, {"language": "de"}], predictions=[{}])
    check = "one_input_per_prediction"
    # German is not predicted at all: that is no fault.
    assert faults(warehouse, "predictions", check) == [{"model": "m", "language": "en", "rows": 1}]
    assert faults(store(predictions=[{"example_id": x} for x in "12"]), "predictions", check) == []
    # Nor is it one that French is not tokenised yet.
    french = [{"example_id": x} for x in "12"] + [{"language": "fr"}]
    assert faults(store(predictions=french), "predictions", check) == []


def test_tokens(store):
    warehouse = store(examples=[{}], tokens=[{"position": 0}, {"position": 1}])
    assert faults(warehouse, "tokens", "positions_gapless") == []
    assert faults(warehouse, "tokens", "examples_exist") == []
    warehouse = store(tokens=[{"position": 0}, {"position": 2}, {"example_id": "9", "position": 1}])
    assert faults(warehouse, "tokens", "positions_gapless") == [{"model": "m", "language": "en", "rows": 2}]
    assert faults(warehouse, "tokens", "examples_exist") == [{"model": "m", "language": "en", "rows": 1}]


def test_the_language_that_translations_are_from_has_no_examples_of_its_own(store):
    rows = [{"language": "en"}, {"language": "en", "example_id": "2"}]
    examples = [{"language": "de", "task": "translation"}, {"language": "fr", "example_id": "2"}]
    faulty = faults(store(examples=examples, activations=rows), "activations", "examples_exist")
    assert faulty == [{"model": "m", "language": "en", "rows": 1}]


def test_converged_warns_below_99_percent(store):
    rows = [{"example_id": str(n), "converged": True} for n in range(100)]
    warehouse = store(attribution_runs=[*rows[1:], {**rows[0], "converged": False}, {"method": "random"}])
    found = verdict(warehouse, "attribution_runs", "converged")
    assert found.faults.is_empty()
    assert found.summary == "99.00% of all runs converged"
    missed = [{**row, "language": "de", "converged": n > 1} for n, row in enumerate(rows)]
    found = verdict(store(attribution_runs=missed), "attribution_runs", "converged")
    assert found.faults.to_dicts() == [
        {"model": "m", "language": "de", "method": "lig", "runs": 100, "converged": 0.98}
    ]
    assert "1 at fault, first: model m, language de" in found.summary


def test_attributions_of_every_token(store):
    tokens = [{"position": n} for n in range(2)]
    warehouse = store(tokens=tokens, attribution_runs=[{}], token_attributions=tokens)
    assert faults(warehouse, "token_attributions", "every_run_has_tokens") == []
    one = [{"model": "m", "language": "en", "rows": 1}]
    assert faults(store(token_attributions=tokens[:1]), "token_attributions", "every_run_has_tokens") == one
    other = [{"position": 0, "method": "random"}]
    found = faults(store(token_attributions=[*tokens, *other]), "token_attributions", "every_run_has_tokens")
    assert found == one
    # Nor is it enough that there is one for each sub-token, without a run.
    other = [{**token, "method": "random"} for token in tokens]
    found = faults(store(token_attributions=[*tokens, *other]), "token_attributions", "every_run_has_tokens")
    assert found == one


def test_attributions_of_the_window_that_holds_an_answer(store):
    tokens = [{"position": n} for n in range(6)]
    spans = [{"window_start": 3, "window_end": 4, "start_position": 3, "end_position": 3}]
    one = [{"model": "m", "language": "en", "rows": 1}]
    for explained, expected in (
        ((0, 1, 3, 4, 5), []),
        ((0, 3, 4), []),
        ((0, 1, 2, 3, 5), one),
        ((0, 1, 2), one),
        ((0, 1, 2, 3, 4, 5, 6), one),
    ):
        attributed = [{"position": n} for n in explained]
        made = store(tokens=tokens, answer_spans=spans, attribution_runs=[{}], token_attributions=attributed)
        assert faults(made, "token_attributions", "every_run_has_tokens") == expected, explained


def test_attributions_of_what_is_not_tokenised_yet(store):
    warehouse = store(attribution_runs=[{}, {"example_id": "2"}], token_attributions=[{"position": 0}])
    found = faults(warehouse, "token_attributions", "every_run_has_tokens")
    assert found == [{"model": "m", "language": "en", "rows": 1}]


def test_pairs(store):
    warehouse = store(
        attribution_runs=[{"language": "en"}, {"language": "de"}],
        ccta_pairs=[{"target_language": "de", "score": 0.4}],
    )
    assert faults(warehouse, "ccta_pairs", "pairs_have_runs") == []
    warehouse = store(ccta_pairs=[{"target_language": "es"}])
    assert faults(warehouse, "ccta_pairs", "pairs_have_runs") == [
        {"model": "m", "target_language": "es", "rows": 1}
    ]
    assert faults(warehouse, "ccta_pairs", "self_pairs_are_1") == []
    warehouse = store(ccta_pairs=[{"target_language": "en", "score": 0.9}])
    assert faults(warehouse, "ccta_pairs", "self_pairs_are_1") == [
        {"model": "m", "target_language": "en", "rows": 1}
    ]


def test_vectors_of_one_width(store):
    warehouse = store(word_vectors=[{"word": "a"}, {"word": "b", "language": "de"}])
    assert faults(warehouse, "word_vectors", "one_width") == []
    warehouse = store(word_vectors=[{"word": "c", "language": "es", "vector": [1.0]}])
    assert faults(warehouse, "word_vectors", "one_width") == [{"space": "space", "least": 1, "most": 2}]


def test_a_warning_is_a_warning_and_a_fault_an_error(store, study, root):
    store(
        attribution_runs=[{"converged": False}],
        predictions=[{"probabilities": [0.5, 0.4]}],
    )
    job = build(study, root).resolve_implicit_global_asset_job_def()
    keys = [dg.AssetCheckKey(dg.AssetKey("attribution_runs"), "converged")]
    keys.append(dg.AssetCheckKey(dg.AssetKey("predictions"), "probabilities_sum_to_1"))
    subset = job.get_subset(asset_selection=set(), asset_check_selection=set(keys))
    with dg.DagsterInstance.ephemeral() as instance:
        result = subset.execute_in_process(instance=instance)
    found = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert result.success
    assert not found["converged"].passed
    assert found["converged"].severity is dg.AssetCheckSeverity.WARN
    assert found["probabilities_sum_to_1"].severity is dg.AssetCheckSeverity.ERROR
    assert "| m | en | 1 |" in found["probabilities_sum_to_1"].metadata["at fault"].value


def test_vectors_that_cannot_be_used(store):
    good = [{"example_id": str(i), "norm": 1.0 + i / 10} for i in range(5)]
    warehouse = store(activations=good)
    assert faults(warehouse, "activations", "usable_vectors") == []
    assert faults(warehouse, "activations", "usual_norms") == []
    bad = [
        {"example_id": "a", "vector": None, "reason": "not_finite"},
        {"example_id": "b", "vector": None, "reason": "overflow"},
        {"example_id": "c", "vector": None, "reason": "truncated"},
        {"example_id": "d", "norm": 0.0},
        {"example_id": "e", "norm": 50.0},
    ]
    warehouse = store(activations=good + bad)
    [found] = faults(warehouse, "activations", "usable_vectors")
    assert (found["not_finite"], found["overflow"], found["zero"]) == (1, 1, 1)
    [found] = faults(warehouse, "activations", "usual_norms")
    assert (found["norm_outliers"], found["vectors"]) == (1, 7)
    assert verdict(warehouse, "activations", "usual_norms").note == "3 words without a vector"


def test_clusterings(store):
    warehouse = store(
        clusterings=[{"num_points": 2, "num_clusters": 2, "converged": True}],
        concepts=[{"concept": 0}, {"concept": 1}],
        concept_members=[{"word_index": i, "concept": i} for i in (0, 1)],
    )
    for table, check in (
        ("clusterings", "clusterings_converged"),
        ("concepts", "no_empty_concepts"),
        ("concept_members", "every_point_is_a_member"),
    ):
        assert faults(warehouse, table, check) == []
    warehouse = store(
        clusterings=[{"num_points": 3, "num_clusters": 2}],
        concepts=[{"concept": 0}, {"concept": 1, "is_empty": True}],
    )
    assert faults(warehouse, "clusterings", "clusterings_converged")[0]["clustering"] == "d.k2"
    assert faults(warehouse, "concepts", "no_empty_concepts") == [
        {"model": "m", "clustering": "d.k2", "empty": 1}
    ]
    [found] = faults(warehouse, "concept_members", "every_point_is_a_member")
    assert (found["members"], found["num_points"]) == (2, 3)


def test_masks_are_evaluated_on_other_examples(store):
    mask = {"ranking": "random", "selection": "curve", "num_removed": 1, "weight": 1}
    sample = {"unit": "head", "estimator": "permutation", "sampler": "rows", "example_id": "1"}
    opened = store(head_samples=[sample], pruning_evaluations=[{**mask, "example_id": "2"}])
    check = checks_of("pruning_evaluations")["masks_on_other_examples"]
    assert check(opened, "pruning_evaluations").faults.is_empty()
    opened = store(pruning_evaluations=[{**mask, "example_id": str(i)} for i in (1, 2)])
    assert check(opened, "pruning_evaluations").faults["rows"].to_list() == [1]


def test_perturbations_of_every_token_end_at_the_whole_and_the_empty_input(store):
    ends = {
        "method": "lig",
        "importance": "signed",
        "mode": "hard",
        "masking": "mask",
        "masked_at": "tokens",
        "empty_input": "attributable",
        "query": "none",
        "ratio": 1.0,
    }
    row = {**ends, "p_full": 0.9, "p_empty": 0.2, "side": "sufficiency", "p_perturbed": 0.9}
    other = {**row, "side": "comprehensiveness", "p_perturbed": 0.2}
    assert faults(store(perturbations=[row, other]), "perturbations", "ends_of_perturbation") == []
    wrong = {**other, "p_perturbed": 0.9}
    assert len(faults(store(perturbations=[row, wrong]), "perturbations", "ends_of_perturbation")) == 1
    # Of the released code's rows this says nothing.
    released = {**wrong, "masking": "zero_id", "empty_input": "all"}
    assert faults(store(perturbations=[row, released]), "perturbations", "ends_of_perturbation") == []
