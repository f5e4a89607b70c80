"""A study that uses some attribution methods on some models only, and tests the faithfulness of some."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import small_study

from xlwh.errors import StudyError
from xlwh.models.made import dev_languages
from xlwh.steps.base import Key
from xlwh.steps.context import Context
from xlwh.steps.job import Job
from xlwh.steps.plan import STEPS
from xlwh.steps.planning import NotApplicable
from xlwh.study import Study

MODEL = "nli_en"
READING = ("attributions", "attribution_probes", "perturbations", "ccta_pairs")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, dict[str, Any]]:
    settings = small_study.settings(tmp_path_factory.mktemp("small"))
    context = small_study.context(settings, settings["folder"] / "warehouse")
    small_study.fill(context)
    return context, settings


def jobs(filled: tuple[Context, dict[str, Any]], step: str, **changes: Any) -> list[Job]:
    """What a step asks for of one model in German, in the small study with some changes."""
    settings = copy.deepcopy(filled[1])
    for place, value in changes.items():
        section, name = place.split("__")
        part = settings["models"][name] if section == "models" else settings[section]
        part |= value if section == "models" else {name: value}
    context = small_study.context(settings, filled[0].warehouse.root)
    return [planned.job for planned in context.planner.jobs(STEPS[step], Key(model=MODEL, language="de"))]


def test_only_the_methods_of_a_model_are_used(filled: tuple[Context, dict[str, Any]]) -> None:
    few = {"models__nli_en": {"attribution_methods": ["lig", "deeplift"]}}
    assert {job.name for job in jobs(filled, "attributions")} > {"lig", "random", "deeplift", "lig_fixed"}
    assert {job.name for job in jobs(filled, "attributions", **few)} == {"lig", "deeplift"}
    assert {job.name for job in jobs(filled, "attribution_probes", **few)} == {"lig", "deeplift"}
    assert {job.name for job in jobs(filled, "perturbations", **few)} == {"lig", "deeplift", "random"}
    (pairs,) = jobs(filled, "ccta_pairs", **few)
    assert pairs.params.settings.methods == ("lig",)


@pytest.mark.parametrize("step", READING)
def test_a_model_without_methods_is_not_attributed(step: str, filled: tuple[Context, dict[str, Any]]) -> None:
    with pytest.raises(NotApplicable, match="`nli_en`"):
        jobs(filled, step, models__nli_en={"attribution_methods": []})


def test_a_model_without_the_compared_methods_needs_no_vectors(
    filled: tuple[Context, dict[str, Any]],
) -> None:
    other = {"models__nli_en": {"attribution_methods": ["deeplift"]}}
    for step in ("ccta_pairs", "word_vectors"):
        with pytest.raises(
            NotApplicable, match=r"no attribution method of `consistency.methods` on `nli_en`"
        ):
            jobs(filled, step, **other)


@pytest.mark.parametrize("limit", [{"faithfulness__models": ["twin"]}, {"faithfulness__datasets": ["tags"]}])
def test_faithfulness_of_some_models_and_datasets(
    limit: dict[str, Any], filled: tuple[Context, dict[str, Any]]
) -> None:
    assert jobs(filled, "perturbations")
    with pytest.raises(NotApplicable, match="does not test the attributions of `nli_en`"):
        jobs(filled, "perturbations", **limit)

    def own(changes: dict[str, Any]) -> set[str]:
        return {by.language for job in jobs(filled, "attributions", **changes) for by in job.params.choice.by}

    # A language's own class is explained for faithfulness only; consistency compares the source's.
    assert own({}) == {"en", "de"}
    assert own(limit) == {"en"}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("models.nli_en.attribution_methods", ["lime"], r"models.nli_en.attribution_methods: no .* `lime`"),
        (
            "models.nli_en.attribution_methods",
            ["released_scaled_attention"],
            "no attribution method `released",
        ),
        ("faithfulness.models", ["none"], "faithfulness.models: no model `none`"),
        ("faithfulness.datasets", ["none"], "faithfulness.datasets: no dataset `none`"),
        ("models.nli_en.finetune.dev_languages", ["de"], "`dev_languages` are those of a `dev_dataset`"),
    ],
)
def test_names_that_the_study_has_not_are_refused(
    place: str, value: Any, said: str, filled: tuple[Context, dict[str, Any]]
) -> None:
    settings = copy.deepcopy(filled[1])
    part: Any = settings
    *way, last = place.split(".")
    for name in way:
        part = part[name]
    part[last] = value
    with pytest.raises(ValueError, match=said):
        Study.model_validate(settings)


def test_development_examples_of_all_languages(filled: tuple[Context, dict[str, Any]]) -> None:
    settings = copy.deepcopy(filled[1])
    recipe = settings["models"][MODEL]["finetune"] | {"dev_dataset": "nli"}
    settings["models"][MODEL]["finetune"] = recipe
    study = Study.model_validate(settings)
    assert dev_languages(MODEL, study.models[MODEL].finetune, ("en", "de", "es")) == ("en",)
    context = small_study.context(settings, filled[0].warehouse.root)
    key = Key(model=MODEL)
    (alone,) = context.planner.jobs(STEPS["models"], key)
    recipe["dev_languages"] = ["de", "es"]
    (both,) = small_study.context(settings, filled[0].warehouse.root).planner.jobs(STEPS["models"], key)
    assert [entry.slot.keys for entry in both.job.reads] == [
        ("nli_train", "en"),
        ("nli", "de"),
        ("nli", "es"),
    ]
    assert alone.job.folder != both.job.folder
    recipe["dev_languages"] = ["fr"]
    with pytest.raises((StudyError, ValueError), match=r"finetune.dev_languages: no language `fr`"):
        Study.model_validate(settings)
