"""What becomes stale when one thing changes: every setting of a study, every input, contract and library of every step.

The table of settings says which steps a setting reaches directly, whatever is behind them. A setting that is in no
table fails the test, so a new one has to say what it does.
"""

from __future__ import annotations

import copy
import shutil
import typing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import small_study
from pydantic import BaseModel, ValidationError

from xlwh.attribution import methods
from xlwh.errors import XlwhError
from xlwh.steps import job
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.plan import STEPS, Step, partitions, step_of, upstream
from xlwh.steps.planning import NotApplicable, Planner, definition_of
from xlwh.store import Slot
from xlwh.store.slots import contract
from xlwh.study import Study
from xlwh.tables import TABLES

ATTRIBUTED = {"attributions", "attribution_probes", "perturbations", "ccta_pairs"}
HEADS = {"head_samples", "head_importance", "attention_maps", "pruning_evaluations"}
RUN_BY_MODEL = {"predictions", "attributions", "attribution_probes", "perturbations", "activations"} | HEADS
CLUSTERS = {"concepts", "concept_kinds", "concept_matches", "concept_languages"}


@dataclass(frozen=True)
class Setting:
    """A setting of the study (its place in the file), another value for it, and the steps that it reaches directly."""

    place: str
    value: Any
    steps: frozenset[str]
    also: tuple[tuple[str, Any], ...] = ()
    """Other settings that this value needs."""

    @property
    def name(self) -> str:
        """The same place with `*` for the key of a model, dataset, space, lexicon or sampler."""
        parts = self.place.split(".")
        for at, table in ((0, "datasets"), (0, "models"), (0, "spaces"), (0, "lexica"), (1, "samplers")):
            if len(parts) > at + 2 and parts[at] == table:
                parts[at + 1] = "*"
        return ".".join(part for part in parts if not part.isdigit())


def S(place: str, value: Any, *steps: str | set[str], also: dict[str, Any] | None = None) -> Setting:  # noqa: N802 - a table is read more easily
    names = {name for each in steps for name in ([each] if isinstance(each, str) else each)}
    return Setting(place, value, frozenset(names), tuple((also or {}).items()))


STUDY = [
    S("name", "another"),
    S("languages", ["en", "es", "de"], "parallelism"),
    S(
        "seed",
        4,
        "examples",
        ATTRIBUTED,
        HEADS,
        "activations",
        "representation_similarities",
        "concept_matches",
        "concept_languages",
    ),
    S("datasets.tags.reader", "panx", "examples"),
    S("datasets.nli.path", "COPY", "examples"),
    S("datasets.nli_train.split", "dev", "examples", "parallelism", "models"),
    S(
        "datasets.nli.languages",
        ["en", "de"],
        "parallelism",
        "lexicon",
        "attention_maps",
        "pruning_evaluations",
    ),
    S("datasets.nli.max_examples", 11, "examples"),
    S("datasets.tags.skip_examples", 17, "examples"),
    S("datasets.nli.max_rejected", 0.4, "examples"),
    S("datasets.nli.aligned", "unchecked", "parallelism"),
    S("datasets.nli.options", {"labels": {"neutral": "neutral"}}, "examples"),
]

MODELS = [
    S(
        "models.pos.tagged_piece",
        "last",
        "models",
        "token_predictions",
        "head_samples",
        "head_importance",
        "pruning_evaluations",
    ),
    S("models.qa.doc_stride", 9, "models", "predictions", "attributions"),
    S("models.qa.max_question", 32, "models", "predictions", "attributions"),
    S("models.qa.max_answer", 9, "models", "predictions"),
    S("models.qa.empty_windows", 0.5, "models"),
    S("models.base.path", "COPY", "models"),
    S("models.nli_en.finetune.base", "pos", "models"),
    S("models.nli_en.finetune.dataset", "nli", "models"),
    S("models.nli_en.finetune.languages", ["es"], "models", "attributions", "ccta_pairs"),
    S("models.nli_en.finetune.dev_dataset", "nli", "models"),
    S(
        "models.nli_en.finetune.dev_languages",
        ["de"],
        "models",
        also={"models.nli_en.finetune.dev_dataset": "nli"},
    ),
    S("models.nli_en.finetune.dev_fraction", 0.1, "models"),
    S("models.nli_en.finetune.seed", 1, "models"),
    S("models.nli_en.finetune.epochs", 2, "models"),
    S("models.nli_en.finetune.batch_size", 4, "models"),
    S("models.nli_en.finetune.learning_rate", 1e-4, "models"),
    S("models.nli_en.finetune.weight_decay", 0.1, "models"),
    S("models.nli_en.finetune.warmup_ratio", 0.1, "models"),
    S("models.nli_en.finetune.max_length", 40, "models"),
    S("models.nli_en.finetune.max_grad_norm", 2.0, "models"),
    S("models.nli_en.finetune.evaluations_per_epoch", 2, "models"),
    S("models.nli_en.finetune.patience", 2, "models"),
    S("models.nli_en.finetune.autocast", "bfloat16", "models"),
    S("models.blank.scratch.family", "mt5", "models"),
    S("models.blank.scratch.config", {"d_model": 8}, "models"),
    S("models.blank.scratch.tokenizer_of", "base", "models", also={"models.blank.scratch.dataset": None}),
    S("models.blank.scratch.dataset", "pairs", "models"),
    S("models.blank.scratch.languages", ["es"], "models"),
    S("models.blank.scratch.vocab_size", 130, "models"),
    S("models.blank.scratch.max_texts", 99, "models"),
    S("models.blank.scratch.seed", 1, "models"),
    S("models.twin.weights_of", "pos", "models", "tokens", "word_vectors"),
    S(
        "models.pieces.tokenization.sampling",
        0.2,
        "models",
        "tokens",
        "predictions",
        "attributions",
        "perturbations",
    ),
    S(
        "models.pieces.tokenization.alpha",
        0.3,
        "models",
        "tokens",
        "predictions",
        "attributions",
        "perturbations",
    ),
    S(
        "models.pieces.tokenization.seed",
        1,
        "models",
        "tokens",
        "predictions",
        "attributions",
        "perturbations",
    ),
    S(
        "models.twin.randomization.parts",
        "head",
        "models",
        "predictions",
        "attributions",
        "perturbations",
        "word_vectors",
    ),
    S(
        "models.twin.randomization.seed",
        1,
        "models",
        "predictions",
        "attributions",
        "perturbations",
        "word_vectors",
    ),
    S("models.twin.datasets", []),
    S(
        "models.nli_en.labels",
        ["neutral", "entailment", "contradiction"],
        "models",
        RUN_BY_MODEL - {"activations", "attention_maps"},
    ),
    S("models.nli_en.source_languages", ["es"], "attributions", "ccta_pairs"),
    S("models.nli_en.languages", ["en", "de"], "attention_maps", "pruning_evaluations"),
    S("models.nli_en.attribution_methods", ["lig"], "ccta_pairs"),
    S("models.twin.counterpart_of", "nli_en", "models"),
    S("models.base.finetuned_languages", ["es"], "models"),
    S("models.twin.published_as", "mBERT", "models"),
    S("models.mt.generation.beams", 2, "predictions"),
    S("models.mt.generation.max_tokens", 64, "predictions"),
    S("models.mt.generation.length_penalty", 0.5, "predictions"),
    S("models.nli_en.dtype", "bfloat16", "models", "word_vectors", RUN_BY_MODEL),
    S("models.nli_en.attention", "eager", "models", RUN_BY_MODEL),
    S("models.nli_en.max_length", 47, "tokens", "word_vectors", RUN_BY_MODEL),
]

TUNED = {"attributions", "attribution_probes"}
METHODS = [
    S("attribution.max_examples", 5, "attributions", "ccta_pairs"),
    S("attribution.target", "gold", "attributions", "ccta_pairs"),
    S("attribution.words_per_example", 2, "attributions"),
    S("attribution.batch_tokens", 1024),
    *(
        setting
        for name in ("lig", "integrated_gradients", "integrated_gradients_mask")
        for setting in (
            S(f"attribution.methods.{name}.quadrature", "fixed", TUNED),
            S(f"attribution.methods.{name}.tolerance", 0.02, TUNED),
            S(f"attribution.methods.{name}.steps", 40, TUNED),
            S(f"attribution.methods.{name}.max_rows", 1600, TUNED),
        )
    ),
    S("attribution.methods.lig_fixed.quadrature", "adaptive", TUNED),
    # Where the steps are fixed, a tolerance only says which attributions have converged.
    S("attribution.methods.lig_fixed.tolerance", 0.02, "attributions"),
    S("attribution.methods.lig_fixed.steps", 40, TUNED),
    S("attribution.methods.lig_fixed.max_rows", 1600, TUNED),
    S("attribution.methods.integrated_gradients.baseline", "zero", TUNED),
    S("attribution.methods.integrated_gradients_mask.baseline", "zero", TUNED),
    S("attribution.methods.input_x_gradient.reduction", "l2", TUNED),
    S("attribution.methods.deeplift.baseline", "zero", TUNED),
    S("attribution.methods.gradient_shap.samples", 10, TUNED),
    S("attribution.methods.gradient_shap.noise", 0.1, TUNED),
    S("attribution.methods.occlusion.replace_by", "pad", TUNED),
    S("attribution.methods.random.draws", 5, TUNED),
    S("attribution.probes.models", ["twin"], "attribution_probes"),
    S("attribution.probes.datasets", ["tags"]),
    S("attribution.probes.methods", ["lig"]),
    S("attribution.probes.max_examples", 3, "attribution_probes"),
    S("attribution.probes.draws", 3, "attribution_probes"),
    S("attribution.probes.radius", 0.2, "attribution_probes"),
    S("spaces.embeddings.pivot", "es", "word_vectors", "ccta_pairs"),
    S("spaces.embeddings.dictionaries", {}, "word_vectors", "ccta_pairs"),
    S("spaces.embeddings.reversed_dictionaries", ["de"], "word_vectors"),
    S("spaces.embeddings.min_coverage", 0.4, "word_vectors"),
    S("consistency.space", "vectors", "word_vectors", "ccta_pairs"),
    S("consistency.models", ["pieces"], "word_vectors", "ccta_pairs"),
    S("consistency.datasets", ["nli"]),
    S("consistency.methods", ["lig"], "ccta_pairs"),
    S("consistency.unit", "token", "word_vectors", "ccta_pairs"),
    S("consistency.normalizations", ["relu"], "ccta_pairs"),
    S("consistency.draws", 3, "ccta_pairs"),
    S("faithfulness.models", ["twin"], "attributions"),
    S("faithfulness.datasets", ["tags"], "attributions"),
    S("faithfulness.methods", ["lig"]),
    S("faithfulness.ratios", [0.5], "perturbations"),
    S("faithfulness.masking", ["pad"], "perturbations"),
    S("faithfulness.importance", ["abs"], "perturbations"),
    S("faithfulness.random_draws", 3, "perturbations"),
    S("faithfulness.soft_draws", 2, "perturbations"),
    S("faithfulness.soft_masking", ["bernoulli_reversed"], "perturbations"),
    S("faithfulness.keep_query", False, "perturbations"),
    S("faithfulness.max_examples", 3, "attributions", "perturbations"),
    S("faithfulness.batch_tokens", 1024),
]

MASKS = "pruning_evaluations"
HEAD_SETTINGS = [
    S("heads.datasets", {"nli": "nli_train", "tags": "tags"}),
    S("heads.models", ["twin"], HEADS),
    S("heads.max_examples", 5, HEADS),
    S("heads.max_evaluated", 3, MASKS),
    S("heads.score", "probability", "head_samples"),
    S("heads.precision", "bfloat16", "head_samples"),
    S("heads.groups", [["0.0", "0.1"]], MASKS),
    S("heads.samplers.rows.estimator", "whole_set", "head_samples"),
    S("heads.samplers.rows.players", ["layer"], "head_samples", MASKS),
    S("heads.samplers.rows.truncation", 0.4, "head_samples"),
    S("heads.samplers.rows.antithetic", True, "head_samples"),
    S("heads.samplers.rows.adaptive", False, "head_samples"),
    S("heads.samplers.rows.delta", 0.2, "head_samples", MASKS),
    S("heads.samplers.rows.max_rows", 30),
    S("heads.samplers.rows.max_minutes", 2.0),
    S("heads.samplers.rows.round_permutations", 256, "head_samples"),
    S("heads.samplers.fixed.first_permutation", 512, "head_samples"),
    S("heads.importance", ["gradient"], "head_importance", MASKS),
    S("heads.attention_examples", 2, "attention_maps"),
    S("heads.random_masks", 2, MASKS),
    S("heads.curve", [2], MASKS),
    S("heads.zero_shot", 1, MASKS),
    S("heads.zero_shot_from", ["es"], MASKS),
    S("heads.resamples", 2000, MASKS),
]

COMPARED = {"representation_similarities", "concepts"} | CLUSTERS
CONCEPTS = [
    S(
        "concepts.datasets",
        ["nli", "nli_train"],
        "activations",
        "representation_similarities",
        "concepts",
        "concept_kinds",
        "concept_labels",
    ),
    S("concepts.models", ["base", "pos"], "activations", COMPARED, "concept_labels"),
    S("concepts.pool", True),
    S("concepts.layers", [0, 2], "activations", COMPARED, "concept_labels"),
    S("concepts.stacks", ["encoder"]),
    S("concepts.conventions", ["predicting"]),
    S("concepts.aggregation", "mean", "activations"),
    S("concepts.min_count", 3, "activations"),
    S("concepts.max_occurrences", 4, "activations"),
    S("concepts.batch_tokens", 1024),
    S("concepts.clusters", 3, "concepts", "concept_matches"),
    S("concepts.monolingual", ["en", "de"]),
    S("concepts.mixed", [["en", "es"]], "activations", COMPARED, "concept_labels"),
    S("concepts.algorithm", "faiss", "concepts"),
    S("concepts.seeds", [1], "concepts", "concept_matches"),
    S("concepts.restarts", 2, "concepts"),
    S("concepts.max_iterations", 50, "concepts"),
    S("concepts.labels", "COPY"),
    S("lexica.aligned.datasets", ["nli_train"], "lexicon"),
    S("lexica.aligned.pairs", [["de", "es"]], "lexicon"),
    S("lexica.given.files.0.source", "es", "lexicon"),
    S("lexica.given.files.0.target", "es", "lexicon"),
    S("lexica.given.files.0.path", "COPY", "lexicon"),
    S("lexica.given.files.0.reversed", True, "lexicon"),
    S("lexica.aligned.n_best", 19, "lexicon", "concept_matches"),
    S("lexica.aligned.min_count", 2, "lexicon"),
    S("lexica.aligned.aligner.iterations", 2, "lexicon"),
    S("lexica.aligned.aligner.model", "diagonal", "lexicon"),
    S("lexica.aligned.aligner.spelling", 0.1, "lexicon"),
    S("lexica.aligned.aligner.null_probability", 0.2, "lexicon"),
    S("lexica.aligned.aligner.tension", 5.0, "lexicon"),
    S(
        "lexica.aligned.aligner.optimise_tension",
        False,
        "lexicon",
        also={"lexica.aligned.aligner.model": "diagonal"},
    ),
    S(
        "lexica.aligned.aligner.tension_update",
        "released",
        "lexicon",
        also={"lexica.aligned.aligner.model": "diagonal"},
    ),
    S("lexica.aligned.aligner.alpha", 0.02, "lexicon"),
    S("lexica.aligned.aligner.lower_case", False, "lexicon"),
    S("lexica.aligned.aligner.command", "cat", "lexicon"),
    S("lexica.aligned.aligner.max_words", 50, "lexicon"),
    S("concept_alignment.lexica", ["given"]),
    S("concept_alignment.floor", 0.6, "concept_matches"),
    S("concept_alignment.draws", 3, "concept_matches", "concept_languages"),
]

VECTORS = [
    S("spaces.vectors.files", "COPY"),
    S("spaces.vectors.min_coverage", 0.4, "word_vectors"),
]
"""Settings of a space of .vec files, where consistency is measured in it."""

UNTRIED = {
    "folder": "where the study file lies",
    "data_root": "where relative paths begin; what the files hold counts",
    "datasets.*.hub": "needs the hub",
    "datasets.*.revision": "needs the hub",
    "models.*.adapter": "part of the weights' hash, as tests/unit/models/test_adapters.py shows",
    "models.*.hub": "needs the hub",
    "models.*.revision": "needs the hub",
    "spaces.*.kind": "another kind has other settings: consistency.space stands for it",
}
SETTINGS = [*STUDY, *MODELS, *METHODS, *HEAD_SETTINGS, *CONCEPTS]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return small_study.settings(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def filled(settings: dict[str, Any]) -> Context:
    """The whole study, up to date."""
    context = small_study.context(settings, settings["folder"] / "warehouse")
    small_study.fill(context)
    return context


def _stale(context: Context) -> set[tuple[str, Key]]:
    """Partitions that are not up to date: an input that is missing or out of date counts too."""
    found = set()
    for step in STEPS.values():
        for key in partitions(context.study, step):
            try:
                fresh = all(map(context.planner.is_fresh, context.planner.jobs(step, key)))
            except NotApplicable:
                continue
            except XlwhError:
                fresh = False
            if not fresh:
                found.add((step.name, key))
    return found


def _again(settings: dict[str, Any], filled: Context) -> Context:
    context = small_study.context(settings, filled.warehouse.root)
    context.planner.refresh()
    return context


def test_the_whole_study_is_up_to_date(filled: Context, settings: dict[str, Any]) -> None:
    assert _stale(_again(settings, filled)) == set()
    empty = {step.name for step in STEPS.values() if not any(map(filled.warehouse.entries, step.tables))}
    assert empty == set(), "every step has something to do in the small study"


def _leaves(part: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every setting that a study can have."""
    for name, info in part.model_fields.items():
        parts = list(dict.fromkeys(_parts(info.annotation)))
        several = (prefix == "" and name in ("datasets", "models", "spaces", "lexica")) or name == "samplers"
        for each in parts:
            yield from _leaves(each, f"{prefix}{name}.{'*.' if several else ''}")
        if not parts:
            yield prefix + name


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


def test_every_setting_is_in_the_table() -> None:
    known = {setting.name for setting in (*SETTINGS, *VECTORS)} | UNTRIED.keys()
    leaves = set(_leaves(Study))
    assert leaves - known == set(), "say which steps a new setting reaches"
    assert known - leaves == set(), "these are settings no more"


def _changed(settings: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """The study with another value; COPY: of files with the same content elsewhere."""
    found = copy.deepcopy(settings)
    for place, value in ((setting.place, setting.value), *setting.also):
        *way, last = place.split(".")
        part: Any = found
        for name in way:
            part = part[int(name)] if name.isdigit() else part.setdefault(name, {})
        part[last] = _copied(settings["folder"], part[last]) if value == "COPY" else value
    return found


def _copied(folder: Path, named: Any) -> Any:
    if isinstance(named, dict):
        return {key: _copied(folder, value) for key, value in named.items()}
    place = folder / "elsewhere"
    place.mkdir(exist_ok=True)
    source = folder / named
    target = place / source.name
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)
    return str(target)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is stored counts as up to date as an input, so that only what a step itself depends on is seen."""
    monkeypatch.setattr(Planner, "is_current", lambda self, entry, key: True)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.place)
@pytest.mark.usefixtures("trusting")
def test_a_setting_reaches_just_the_steps_that_depend_on_it(
    setting: Setting, filled: Context, settings: dict[str, Any]
) -> None:
    context = _again(_changed(settings, setting), filled)
    assert {name for name, _ in _stale(context)} == setting.steps


@pytest.fixture(scope="module")
def in_vectors(filled: Context, settings: dict[str, Any]) -> tuple[Context, dict[str, Any]]:
    """The same study, its consistency in a space of .vec files, up to date."""
    root = settings["folder"] / "warehouse-vectors"
    shutil.copytree(filled.warehouse.root, root)
    changed = settings | {"consistency": settings["consistency"] | {"space": "vectors"}}
    context = small_study.context(changed, root)
    small_study.fill(context)
    return context, changed


@pytest.mark.parametrize("setting", VECTORS, ids=lambda setting: setting.place)
@pytest.mark.usefixtures("trusting")
def test_a_setting_of_files_of_vectors(setting: Setting, in_vectors: tuple[Context, dict[str, Any]]) -> None:
    context = _again(_changed(in_vectors[1], setting), in_vectors[0])
    assert {name for name, _ in _stale(context)} == setting.steps


def _behind(context: Context, changed: set[tuple[str, Key]]) -> set[tuple[str, Key]]:
    """Partitions that are made from some others, by what their plans looked at, directly or through others."""
    found = set(changed)
    for step in STEPS.values():
        for key in partitions(context.study, step):
            plan = context.planner._plan(step, key)
            if plan.behind & found and not isinstance(plan.error, NotApplicable):
                found.add((step.name, key))
    return found


@pytest.mark.parametrize("table", TABLES)
def test_a_raised_contract_makes_its_table_stale_and_what_is_made_from_it(
    table: str, filled: Context, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _again(settings, filled)
    assert _stale(before) == set()
    made = {
        (step.name, key)
        for step in [step_of(table)]
        for key in partitions(before.study, step)
        if any(slot.table == table for slot in _slots(before, step, key))
    }
    assert made
    monkeypatch.setattr(contract(table), "version", contract(table).version + 1)
    assert _stale(_again(settings, filled)) & _applicable(before) == _behind(before, made)


def _planned(context: Context, step: Step, key: Key) -> tuple[job.Planned, ...]:
    try:
        return context.planner.jobs(step, key)
    except NotApplicable:
        return ()


def _applicable(context: Context) -> set[tuple[str, Key]]:
    """Partitions that ask for anything. The others may not know that while their inputs are out of date."""
    return {
        (step.name, key)
        for step in STEPS.values()
        for key in partitions(context.study, step)
        if _slots(context, step, key)
    }


def _slots(context: Context, step: Step, key: Key) -> set[Slot]:
    return {slot for planned in _planned(context, step, key) for slot in planned.job.slots.values()}


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.name)
def test_a_raised_version_makes_a_step_stale(
    step: Step, filled: Context, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _again(settings, filled)
    made = {(step.name, key) for key in partitions(before.study, step) if _slots(before, step, key)}
    monkeypatch.setattr(type(definition_of(step)), "version", "raised")
    assert _stale(_again(settings, filled)) & _applicable(before) == _behind(before, made)


LIBRARIES = {name for step in STEPS.values() for name in definition_of(step).libraries}


@pytest.mark.parametrize(
    "library", sorted(LIBRARIES.union(*(method.libraries for method in methods.METHODS.values())))
)
@pytest.mark.usefixtures("trusting")
def test_another_version_of_a_library_makes_stale_what_it_computes(
    library: str, filled: Context, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, genuine = _again(settings, filled), job.library_version
    users = {
        step.name
        for step in STEPS.values()
        for key in partitions(before.study, step)
        if any(
            library in (*planned.libraries, *planned.job.libraries) for planned in _planned(before, step, key)
        )
    }
    monkeypatch.setattr(job, "library_version", lambda name: "another" if name == library else genuine(name))
    assert {name for name, _ in _stale(_again(settings, filled))} == users


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.name)
def test_a_changed_input_makes_stale_what_is_made_from_it(
    step: Step, filled: Context, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One partition of a step is made from something else; what is behind it is stale, and only that."""
    before = _again(settings, filled)
    key = next(key for key in partitions(before.study, step) if _slots(before, step, key))
    changed = _slots(before, step, key)
    after = _again(settings, filled)
    for slot in changed:
        entry = after.planner.entry(slot)
        assert entry is not None
        after.planner._entries[slot] = replace(entry, fingerprint="0" * 32)
    assert _stale(after) & _applicable(before) == _behind(before, {(step.name, key)})


def test_what_is_declared_is_what_is_looked_at(filled: Context, settings: dict[str, Any]) -> None:
    """The plan's inputs, from which Dagster's lineage is made, against the files that planning really looks at."""
    context = _again(settings, filled)
    for step in STEPS.values():
        for key in partitions(context.study, step):
            _slots(context, step, key)
    looked = {(name, step_of(table).name) for name, table in context.planner.opened}
    declared = {(step.name, read.step) for step in STEPS.values() for read in step.reads}
    assert declared - looked == set(), "declared, but never looked at"
    assert looked - declared == set(), "looked at, but not declared"


def test_partitions_that_are_looked_at_are_upstream(filled: Context, settings: dict[str, Any]) -> None:
    context = _again(settings, filled)
    for step in STEPS.values():
        for key in partitions(context.study, step):
            above = {(source.name, other) for source, other in upstream(context.study, step, key)}
            assert context.planner._plan(step, key).behind <= above, (step.name, key)


def test_a_value_that_is_no_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Study.model_validate(settings | {"nonsense": 1})


def page() -> str:
    """docs/staleness.md: the tables that these tests hold."""
    lines = [
        "# What becomes stale",
        "",
        "Written by `PYTHONPATH=tests python tests/unit/steps/test_staleness.py`, from the tables that the tests beside it",
        "hold against a small study of every step: each setting, input, contract, version and library is changed alone.",
        "",
        "A changed setting makes these steps stale by itself, and then whatever is made from them; `-`: nothing that is",
        "stored. A setting that takes something out of the study makes nothing stale either: what is stored stays, out of",
        "the public views.",
        "",
        "| setting | tried as | steps |",
        "|---|---|---|",
    ]
    for setting in (*SETTINGS, *VECTORS):
        tried = (
            "the same content elsewhere"
            if setting.value == "COPY"
            else f"`{setting.place}` = `{setting.value}`"
        )
        steps = ", ".join(name for name in STEPS if name in setting.steps) or "-"
        lines.append(f"| `{setting.name}` | {tried} | {steps} |")
    lines += ["", "Not tried: " + "; ".join(f"`{name}` ({why})" for name, why in UNTRIED.items()) + ".", ""]
    lines += [
        "A step is stale when one of its inputs, the contract of one of its tables, its version or one of its libraries",
        "changes (some jobs have further libraries, such as captum or faiss, by their method or algorithm).",
        "",
        "| step | contracts | inputs | version | libraries |",
        "|---|---|---|---|---|",
    ]
    for step in STEPS.values():
        definition = definition_of(step)
        inputs = ", ".join(dict.fromkeys(read.step for read in step.reads)) or "-"
        libraries = ", ".join(definition.libraries) or "-"
        lines.append(
            f"| {step.name} | {', '.join(step.tables)} | {inputs} | {definition.version} | {libraries} |"
        )
    return "\n".join(lines) + "\n"


PAGE = Path(__file__).resolve().parents[3] / "docs" / "staleness.md"


def test_the_page_says_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run: PYTHONPATH=tests python tests/unit/steps/test_staleness.py"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
