"""Checks of what is stored, one set per table. Each looks at the whole table and names the partitions at fault."""

# No `from __future__ import annotations` here: Dagster reads the types of an asset's parameters as objects.

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from dagster_project.metadata import markdown
from dagster_project.resources import WarehouseResource
from xlwh.concepts.health import LAYER, per_layer
from xlwh.store import Warehouse, schema
from xlwh.store.occurrences import POINTERS, misplaced, summary
from xlwh.store.reading import is_lost, scan, source
from xlwh.tables import TABLES

CONVERGED_SHARE = 0.99
"""Attribution runs that should be within the study's tolerance; fewer is a warning."""
SUM_TOLERANCE = 1e-4
_WARNINGS = {"converged", "usual_norms", "no_empty_concepts", "clusterings_converged", "no_odd_rows"}
"""Checks that only warn: what they find is flagged in the table, and may be meant."""
_SHOWN = 20


@dataclass(frozen=True)
class Verdict:
    """What a check found: the partitions (or whatever rows the frame has) that are at fault."""

    faults: pl.DataFrame
    looked_at: int
    note: str = ""

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.faults.is_empty():
            return self.note or "all is well"
        first = ", ".join(f"{name} {value}" for name, value in self.faults.row(0, named=True).items())
        return f"{self.faults.height} at fault, first: {first}" + (f"; {self.note}" if self.note else "")


Check = Callable[[Warehouse, str], Verdict]


def table_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of all stored tables."""
    return [_checks(table) for table in TABLES]


def _checks(table: str) -> dg.AssetChecksDefinition:
    checks = checks_of(table)

    @dg.multi_asset_check(
        name=f"{table}_checks",
        specs=[
            dg.AssetCheckSpec(name, asset=table, description=check.__doc__) for name, check in checks.items()
        ],
        can_subset=True,
    )
    def check(
        context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.AssetCheckResult]:
        opened = warehouse.open()
        for key in sorted(context.selected_asset_check_keys, key=lambda key: key.name):
            verdict = checks[key.name](opened, table)
            yield dg.AssetCheckResult(
                asset_key=table,
                check_name=key.name,
                passed=verdict.faults.is_empty(),
                severity=dg.AssetCheckSeverity.WARN if key.name in _WARNINGS else dg.AssetCheckSeverity.ERROR,
                description=verdict.summary,
                metadata=_told(verdict),
            )

    return check


def _told(verdict: Verdict) -> dict[str, Any]:
    told: dict[str, Any] = {"looked at": verdict.looked_at}
    if verdict.faults.height:
        told["at fault"] = dg.MetadataValue.md(markdown(verdict.faults.head(_SHOWN)))
    return told


def checks_of(table: str) -> dict[str, Check]:
    """The checks of a table, by name."""
    checks: dict[str, Check] = {"contract": contract}
    if any(dtype.is_float() for dtype in _scalars(table).values()):
        checks["finite"] = finite
    if table in POINTERS:
        checks["offsets_cut_out_the_word"] = offsets_cut_out_the_word
    return checks | _SPECIAL.get(table, {})


def contract(warehouse: Warehouse, table: str) -> Verdict:
    """Every current file is there, has the contract's columns and types, its version, and the rows it claims."""
    # Here, like SciPy for the verdicts: whoever loads the definitions need not wait for what only one check uses.
    import pyarrow.parquet as pq

    faults = []
    entries = warehouse.entries(table)
    wanted = pl.Schema(schema(table))
    for entry in entries:
        if is_lost(warehouse.root, entry):
            faults.append((str(entry.slot), "the file is missing"))
            continue
        footer = pq.read_metadata(source(warehouse.root, entry))
        told = footer.metadata or {}
        if scan(warehouse.root, [entry]).collect_schema() != wanted:
            faults.append((str(entry.slot), "columns or types differ from the contract"))
        elif told.get(b"xlwh.version", b"").decode() != str(TABLES[table].version):
            faults.append((str(entry.slot), "written under another version of the contract"))
        elif footer.num_rows != entry.rows:
            faults.append((str(entry.slot), f"{footer.num_rows} rows, {entry.rows} in the manifest"))
    return Verdict(_frame(faults, "file", "fault"), len(entries))


def finite(warehouse: Warehouse, table: str) -> Verdict:
    """No NaN and no infinity in any number."""
    columns = [name for name, dtype in _scalars(table).items() if dtype.is_float()]
    bad = pl.any_horizontal((~pl.col(name).is_finite()).fill_null(False) for name in columns)
    frame = warehouse.scan(table)
    return Verdict(_by_partition(frame.filter(bad), table), _height(frame))


def probabilities_sum(warehouse: Warehouse, table: str) -> Verdict:
    """There is a probability per logit: those of classes sum to 1, those of an answer's ends or of written sub-tokens
    are shares each.
    """
    from xlwh.steps.models.evaluated import CLASSIFICATION

    frame = warehouse.scan(table)
    shares = pl.col("probabilities")
    of_classes = pl.col("task").is_in(CLASSIFICATION)
    bad = (
        (shares.list.len() != pl.col("logits").list.len())
        | (of_classes & ((shares.list.sum() - 1).abs() > SUM_TOLERANCE))
        | shares.list.eval((pl.element() < 0) | (pl.element() > 1 + SUM_TOLERANCE)).list.any()
    )
    return Verdict(_by_partition(frame.filter(bad), table), _height(frame))


def same_ids_in_languages(warehouse: Warehouse, table: str) -> Verdict:
    """Parallel data: the languages of a dataset share most of their example ids."""
    frame = warehouse.scan(table).select("dataset", "split", "language", "example_id").collect()
    counts = frame.group_by("dataset", "split", "language").len("examples")
    together = counts.group_by("dataset", "split").agg(
        pl.len().alias("languages"), pl.col("examples").max().alias("most")
    )
    parallel = together.filter(pl.col("languages") > 1)
    shared = (
        frame.join(parallel, on=["dataset", "split"])
        .group_by("dataset", "split", "example_id")
        .agg(pl.len().alias("in_languages"), pl.first("languages"), pl.first("most"))
        .group_by("dataset", "split")
        .agg(
            (pl.col("in_languages") == pl.col("languages")).sum().alias("in_all_languages"), pl.first("most")
        )
        .filter(pl.col("in_all_languages") * 2 < pl.col("most"))
    )
    return Verdict(shared, parallel.height, "dataset and split pairs in more than one language")


def languages_are_parallel(warehouse: Warehouse, table: str) -> Verdict:
    """Languages that are joined by row are translations of each other, as far as the study does not say otherwise."""
    from xlwh.corpora.parallelism import FAULTS

    frame = warehouse.scan(table)
    bad = pl.col("verdict").is_in(FAULTS) & pl.col("is_refused")
    shown = ["dataset", "source_language", "target_language", "first_divergence", "reason"]
    return Verdict(frame.filter(bad).select(shown).collect(), _height(frame))


def no_odd_rows(warehouse: Warehouse, table: str) -> Verdict:
    """In languages that are translations every row matches the row at its place (a warning: the data are published so)."""
    frame = warehouse.scan(table)
    odd = frame.filter((pl.col("odd_rows") > 0) & (pl.col("verdict") == "parallel"))
    shown = ["dataset", "source_language", "target_language", "odd_rows", "reason"]
    return Verdict(odd.select(shown).collect(), _height(frame))


def accepted_or_rejected(warehouse: Warehouse, table: str) -> Verdict:
    """No row of an input file is both accepted and rejected."""
    row = ["dataset", "split", "language", "source_file", "row_number"]
    rejected = warehouse.scan(table)
    both = rejected.join(warehouse.scan("examples"), on=row, how="semi")
    return Verdict(_by_partition(both, table), _height(rejected))


def offsets_cut_out_the_word(warehouse: Warehouse, table: str) -> Verdict:
    """In every row, what stands in the example's text at the row's offsets is its word (or answer).

    Of words of multiword tokens, and all other words of pre-tokenised texts: they are where the source says they are.
    """
    examples, entries = warehouse.entries("examples"), warehouse.entries(table)
    faults = []
    for entry in entries:
        frame = scan(warehouse.root, [entry])
        if entry.version == TABLES[table].version:
            wrong = misplaced(warehouse.root, frame, table, examples, warehouse.scan("predictions"))
            faults += [(str(entry.slot), summary(wrong))] if wrong.height else []
    return Verdict(_frame(faults, "file", "fault"), sum(entry.rows for entry in entries))


def one_input_per_prediction(warehouse: Warehouse, table: str) -> Verdict:
    """Of the datasets that are both tokenised and predicted, the same examples are."""
    here = ["model", "language", "dataset"]
    predicted, tokenised = _example_keys(warehouse, table), _example_keys(warehouse, "tokens")
    mine = predicted.join(tokenised, on=here, how="semi")
    theirs = tokenised.join(predicted, on=here, how="semi")
    key = [*here, "split", "example_id"]
    odd = pl.concat([mine.join(theirs, on=key, how="anti"), theirs.join(mine, on=key, how="anti")])
    return Verdict(_by_partition(odd, table), _height(predicted))


def masks_on_other_examples(warehouse: Warehouse, table: str) -> Verdict:
    """No mask is evaluated on an example that heads were valued on."""
    found = _example_keys(warehouse, table)
    key = ["model", "dataset", "split", "language", "example_id"]
    used = found.join(_example_keys(warehouse, "head_samples"), on=key, how="semi")
    return Verdict(_by_partition(used, table), _height(found))


def examples_exist(warehouse: Warehouse, table: str) -> Verdict:
    """Every example is one of the corpus; of translations also in the language they are from, which has no rows."""
    found = _example_keys(warehouse, table)
    examples, key = warehouse.scan("examples"), ["dataset", "split", "example_id"]
    translated = examples.filter(pl.col("task") == "translation").select(key).unique()
    lost = found.join(examples.select(*key, "language").unique(), on=[*key, "language"], how="anti")
    lost = lost.join(translated, on=key, how="anti")
    return Verdict(_by_partition(lost, table), _height(found))


def positions_gapless(warehouse: Warehouse, table: str) -> Verdict:
    """The sub-tokens of an example are numbered 0, 1, 2, … without gaps."""
    example = ["model", "dataset", "split", "language", "example_id"]
    counts = (
        warehouse.scan(table)
        .group_by(example)
        .agg(
            pl.len().alias("n"),
            pl.col("position").max().alias("last"),
            pl.col("position").min().alias("first"),
        )
    )
    bad = counts.filter((pl.col("first") != 0) | (pl.col("last") + 1 != pl.col("n")))
    return Verdict(_by_partition(bad, table), _height(counts))


def converged(warehouse: Warehouse, table: str) -> Verdict:
    """At least 99 % of the runs of every partition reached their tolerance (a warning where they did not)."""
    runs = warehouse.scan(table).filter(pl.col("converged").is_not_null())
    shares = runs.group_by("model", "language", "method").agg(
        pl.len().alias("runs"), pl.col("converged").mean().alias("converged")
    )
    missed = shares.filter(pl.col("converged") < CONVERGED_SHARE).sort("converged").collect()
    overall = runs.select(pl.col("converged").mean()).collect().item()
    note = "" if overall is None else f"{overall:.2%} of all runs converged"
    stops = runs.drop_nulls("stopped").group_by("stopped").len().sort("stopped").collect()
    if stops.height:
        note += "; refinement ended by " + ", ".join(f"{reason}: {count:,}" for reason, count in stops.rows())
    return Verdict(missed, _height(runs), note)


def every_run_has_tokens(warehouse: Warehouse, table: str) -> Verdict:
    """Every attribution run has an attribution for each sub-token of its example, and no token lacks a run.

    Of a question and its text that window is explained which holds the answer: there, for each sub-token of the window's
    text, and for no more than there are. What is not tokenised yet has no sub-tokens to count: there, it has some.
    """
    here = ["model", "language", "dataset"]
    example = [*here, "split", "example_id"]
    run = [*example, "method", "target"]
    windows = warehouse.scan("answer_spans").select(*example, "window_start", "window_end")
    in_window = pl.col("position").is_between("window_start", "window_end")
    attributed = (
        warehouse.scan(table)
        .join(windows, on=example, how="left")
        .group_by(run)
        .agg(
            attributed=pl.len(),
            lacking=pl.col("window_end").first() - pl.col("window_start").first() + 1 - in_window.sum(),
        )
    )
    tokens = warehouse.scan("tokens").group_by(example).agg(pl.len().alias("tokens"))
    tokenised = tokens.select(*here, tokenised=True).unique()
    runs = warehouse.scan("attribution_runs").select(*run, ran=True)
    joined = runs.join(attributed, on=run, how="full", coalesce=True).join(tokens, on=example, how="left")
    surplus = pl.col("attributed").cast(pl.Int64) - pl.col("tokens").cast(pl.Int64)
    is_whole = (
        pl.when(pl.col("lacking").is_null())
        .then(surplus == 0)
        .otherwise((surplus <= 0) & (pl.col("lacking") == 0))
    )
    bad = joined.join(tokenised, on=here, how="left").filter(
        pl.col("attributed").is_null()
        | pl.col("ran").is_null()
        | (pl.col("tokenised") & ~is_whole.fill_null(value=False))
    )
    return Verdict(_by_partition(bad, table), _height(runs))


def pairs_have_runs(warehouse: Warehouse, table: str) -> Verdict:
    """Both sides of every pair have an attribution run of the pair's method."""
    pairs = warehouse.scan(table)
    runs = warehouse.scan("attribution_runs").select(
        "model", "dataset", "split", "language", "example_id", "method"
    )
    on = ["model", "dataset", "split", "example_id", "method"]
    source = pairs.join(runs, left_on=[*on, "source_language"], right_on=[*on, "language"], how="anti")
    target = pairs.join(runs, left_on=[*on, "target_language"], right_on=[*on, "language"], how="anti")
    return Verdict(_by_partition(pl.concat([source, target]), table), _height(pairs))


def self_pairs_are_one(warehouse: Warehouse, table: str) -> Verdict:
    """A language compared with itself, by the same target, scores 1."""
    own = warehouse.scan(table).filter(pl.col("source_language") == pl.col("target_language"))
    bad = own.filter((pl.col("score") - 1).abs() > 1e-9)
    return Verdict(_by_partition(bad, table), _height(own))


def one_width(warehouse: Warehouse, table: str) -> Verdict:
    """All vectors of a space have the same number of dimensions, and none is empty."""
    widths = (
        warehouse.scan(table)
        .group_by("space")
        .agg(
            pl.col("vector").list.len().min().alias("least"), pl.col("vector").list.len().max().alias("most")
        )
        .collect()
    )
    return Verdict(widths.filter((pl.col("least") != pl.col("most")) | (pl.col("least") == 0)), widths.height)


def usable_vectors(warehouse: Warehouse, table: str) -> Verdict:
    """No vector had to be left out because it holds NaN, infinity or numbers beyond half precision, and none is zero."""
    counts = per_layer(warehouse.scan(table))
    bad = ("not_finite", "overflow", "zero")
    faults = counts.filter(pl.sum_horizontal(bad) > 0).select(*LAYER, *bad)
    return Verdict(faults, int(counts["words"].sum()))


def usual_norms(warehouse: Warehouse, table: str) -> Verdict:
    """No vector is many times longer or shorter than its layer's usual one (a warning where some are)."""
    counts = per_layer(warehouse.scan(table))
    faults = counts.filter(pl.col("norm_outliers") > 0).select(
        *LAYER, "norm_outliers", "vectors", "median_norm"
    )
    lost = int(counts["words"].sum()) - int(counts["vectors"].sum())
    return Verdict(faults, int(counts["words"].sum()), f"{lost} words without a vector" if lost else "")


def clusterings_converged(warehouse: Warehouse, table: str) -> Verdict:
    """Every clustering stopped by itself, not at the limit of iterations (a warning where one did not)."""
    frame = warehouse.scan(table).select("model", "clustering", "iterations", "converged").collect()
    return Verdict(frame.filter(~pl.col("converged")), frame.height)


def no_empty_concepts(warehouse: Warehouse, table: str) -> Verdict:
    """No concept is empty (a warning where one is: there may be fewer different vectors than clusters)."""
    frame = warehouse.scan(table)
    empty = frame.filter("is_empty").group_by("model", "clustering").agg(pl.len().alias("empty"))
    return Verdict(empty.sort("model", "clustering").collect(), _height(frame))


def every_point_is_a_member(warehouse: Warehouse, table: str) -> Verdict:
    """Each clustering has as many members as points were clustered, in as many concepts as are not empty."""
    members = warehouse.scan(table)
    counted = members.group_by("model", "clustering").agg(
        pl.len().alias("members"), pl.col("concept").n_unique().alias("concepts")
    )
    runs = warehouse.scan("clusterings").select(
        "model", "clustering", "num_points", (pl.col("num_clusters") - pl.col("num_empty")).alias("filled")
    )
    joined = runs.join(counted, on=["model", "clustering"], how="full", coalesce=True)
    bad = joined.filter(
        pl.col("members").cast(pl.Int64).ne_missing(pl.col("num_points"))
        | pl.col("concepts").cast(pl.Int64).ne_missing(pl.col("filled").cast(pl.Int64))
    )
    return Verdict(bad.sort("model", "clustering").collect(), _height(members))


def ends_of_perturbation(warehouse: Warehouse, table: str) -> Verdict:
    """With every token kept the probability is that of the whole input, with none that of the empty one.

    The released code's rows are left out: its empty input lacks special tokens too, and its rationales begin elsewhere.
    """
    every_token = (pl.col("mode") == "hard") & (pl.col("ratio") == 1)
    frame = warehouse.scan(table).filter(every_token & (pl.col("empty_input") == "attributable"))
    end = pl.when(pl.col("side") == "sufficiency").then("p_full").otherwise("p_empty")
    return Verdict(_by_partition(frame.filter(pl.col("p_perturbed") != end), table), _height(frame))


_SPECIAL: dict[str, dict[str, Check]] = {
    "examples": {"same_ids_in_languages": same_ids_in_languages},
    "rejected_rows": {"accepted_or_rejected": accepted_or_rejected},
    "parallelism": {"languages_are_parallel": languages_are_parallel, "no_odd_rows": no_odd_rows},
    "tokens": {"examples_exist": examples_exist, "positions_gapless": positions_gapless},
    "predictions": {
        "one_input_per_prediction": one_input_per_prediction,
        "probabilities_sum_to_1": probabilities_sum,
    },
    "attribution_runs": {"converged": converged, "examples_exist": examples_exist},
    "token_attributions": {"every_run_has_tokens": every_run_has_tokens},
    "word_vectors": {"one_width": one_width},
    "activations": {
        "examples_exist": examples_exist,
        "usable_vectors": usable_vectors,
        "usual_norms": usual_norms,
    },
    "clusterings": {"clusterings_converged": clusterings_converged},
    "concepts": {"no_empty_concepts": no_empty_concepts},
    "concept_members": {"every_point_is_a_member": every_point_is_a_member},
    "pruning_evaluations": {"masks_on_other_examples": masks_on_other_examples},
    "perturbations": {"ends_of_perturbation": ends_of_perturbation},
    "ccta_pairs": {"pairs_have_runs": pairs_have_runs, "self_pairs_are_1": self_pairs_are_one},
}


def _example_keys(warehouse: Warehouse, table: str) -> pl.LazyFrame:
    columns = [c for c in ("model", "dataset", "split", "language", "example_id") if c in schema(table)]
    return warehouse.scan(table).select(columns).unique()


def _by_partition(frame: pl.LazyFrame, table: str) -> pl.DataFrame:
    """Number of rows at fault per partition of a table."""
    columns = list(TABLES[table].partition_by)
    if not columns:
        counted = frame.select(pl.len().alias("rows")).collect()
        return counted.filter(pl.col("rows") > 0)
    return frame.group_by(columns).agg(pl.len().alias("rows")).sort(columns).collect()


def _scalars(table: str) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in schema(table).items() if not dtype.is_nested()}


def _height(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect().item())


def _frame(rows: list[tuple[str, str]], *columns: str) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
