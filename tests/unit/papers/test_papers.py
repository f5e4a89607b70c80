"""The studies of the papers: every size is a study, and what is printed is measured by the full one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from reached_cells import reached

from xlwh.corpora import check
from xlwh.errors import StudyError
from xlwh.papers import ALL, FOLDER, PAPERS, SIZES, compose, settings
from xlwh.papers.edit import blocks, comments, head
from xlwh.published import load
from xlwh.study import Study

SIZED = [(paper, size) for paper in PAPERS for size in SIZES if size != "full"]
PUBLISHED = {"ccta": "ccta", "heads": "shapley-heads"}
"""Paper -> its name in `published_results`."""


def study(paper: str, size: str = "full") -> Study:
    """The study of a paper as `xlwh pin` leaves it: a commit where the file names none, or a pull request."""
    said = tomllib.loads(compose(paper, size))
    for part in (*said["datasets"].values(), *said["models"].values()):
        if "hub" in part and len(part.get("revision", "")) != 40:
            part["revision"] = "0" * 40
    return Study.model_validate({**said, "folder": Path("/study")})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("paper", [*PAPERS, ALL])
def test_every_size_is_a_study_whose_data_have_readers(paper: str, size: str) -> None:
    found = study(paper, size)
    check(found)
    assert tomllib.loads(compose(paper, size)) == settings(paper, size)
    assert found.name == paper


def _leaves(table: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*at, key))
        else:
            yield (*at, key), value


@pytest.mark.parametrize(("paper", "size"), SIZED)
def test_a_size_says_only_what_it_changes_and_each_line_what_the_full_study_has(
    paper: str, size: str
) -> None:
    text, full = compose(paper, size), dict(_leaves(settings(paper)))
    changes = tomllib.loads((FOLDER / f"{paper}.{size}.toml").read_text(encoding="utf-8"))
    changes.pop("remove", None)
    told, made = comments(text), dict(_leaves(settings(paper, size)))
    changed = list(_leaves(changes))
    assert changed
    for place, value in changed:
        assert full.get(place) != value, f"{place} is as in the full study"
        assert made[place] == value
        line = next(place[:n] for n in range(len(place), 0, -1) if place[:n] in told)
        assert told[line].startswith("full: "), place
    assert sum(said.startswith("full: ") for said in told.values()) <= len(changed)
    assert text.startswith(head((FOLDER / f"{paper}.{size}.toml").read_text(encoding="utf-8")).rstrip())


@pytest.mark.parametrize(("paper", "size"), SIZED)
def test_comments_of_the_full_study_are_kept(paper: str, size: str) -> None:
    """All of them, in their order, but those of tables that the size leaves out."""
    full = (FOLDER / f"{paper}.toml").read_text(encoding="utf-8")
    own = head((FOLDER / f"{paper}.{size}.toml").read_text(encoding="utf-8")).strip()
    text = compose(paper, size).removeprefix(f"{own}\n#\n")
    left = {block.place for block in blocks(text)}
    kept = "".join(str(block) if block.place in left else block.tail for block in blocks(full))
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in kept.splitlines() if line.startswith("#")
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("paper", PAPERS)
def test_every_model_and_dataset_of_a_study_is_of_use(paper: str, size: str) -> None:
    found = study(paper, size)
    used = {name for model in found.models.values() for name in (*model.datasets, *model.training_datasets)}
    used |= set(found.heads.datasets.values()) if found.heads is not None else set()
    used |= set(found.concepts.datasets) if found.concepts is not None else set()
    used |= {name for lexicon in found.lexica.values() for name in lexicon.datasets}
    assert set(found.datasets) - used == set()
    based = {model.base for model in found.models.values()}
    looked_into = set(found.concepts.models or found.models) if found.concepts is not None else set()
    idle = {key for key, model in found.models.items() if not model.datasets} - based - looked_into
    assert idle == set()


def _published(paper: str) -> pl.DataFrame:
    return load().filter(pl.col("paper") == PUBLISHED[paper])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("paper", PUBLISHED)
def test_every_printed_number_is_measured(paper: str, size: str) -> None:
    printed = _published(paper)
    assert printed.height > 150
    for found in (study(paper, size), study(ALL, size)):
        assert [row for row in printed.to_dicts() if not reached(found, row)] == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("paper", PAPERS)
def test_a_model_is_used_beside_other_papers_as_in_its_own(paper: str, size: str) -> None:
    """Trained, evaluated, attributed and compared alike."""
    own, together = study(paper, size), study(ALL, size)
    assert own.models.keys() <= together.models.keys()
    assert own.datasets.keys() <= together.datasets.keys()
    for key, model in own.models.items():
        other = together.models[key]
        assert other.finetune == model.finetune
        assert (other.hub, other.published_as, other.max_length) == (
            model.hub,
            model.published_as,
            model.max_length,
        )
        assert together.source_languages(key) == own.source_languages(key) or not model.datasets
        languages = dict.fromkeys((*own.all_languages(), *together.all_languages()))
        for language in languages:
            there = set(own.evaluations(key, language)) if language in own.all_languages() else set()
            assert set(together.evaluations(key, language)) == there, (key, language)
        if model.datasets:
            assert set(together.attribution_methods(key)) == set(own.attribution_methods(key)), key
        for dataset in model.datasets:
            assert together.tests_faithfulness(key, dataset) == own.tests_faithfulness(key, dataset)
    for section in ("consistency", "concepts", "heads"):
        mine, theirs = getattr(own, section), getattr(together, section)
        if mine is not None:
            assert theirs == mine


@pytest.mark.parametrize("size", ["smoke", "small"])
def test_all_papers_in_one_say_what_the_full_study_has(size: str) -> None:
    told = [said for said in comments(compose(ALL, size)).values() if said.startswith("full: ")]
    assert len(told) > 100


def test_languages_of_a_grid_are_those_of_its_table() -> None:
    """No table of the paper is measured over other languages: `overall` is their mean."""
    found = study("ccta")
    printed = _published("ccta").filter(pl.col("language") != "overall")
    for (dataset,), rows in printed.group_by("dataset"):
        assert set(found.dataset_languages(str(dataset))) == set(rows["language"]), dataset


def test_two_quadratures_stand_side_by_side() -> None:
    methods = study("ccta").attribution.methods
    assert methods.lig is not None
    assert methods.lig_fixed is not None
    assert (methods.lig.quadrature, methods.lig_fixed.quadrature) == ("adaptive", "fixed")


def test_the_heads_of_the_paper_are_valued_as_it_says() -> None:
    heads = study("heads").heads
    assert heads is not None
    whole = heads.samplers["whole_set"]
    assert (whole.estimator, whole.truncation, whole.delta) == ("whole_set", 0.5, 0.1)
    assert (heads.max_examples, heads.random_masks) == (512, 10)
    # 144 heads: half of them leave, over all examples.
    assert whole.max_rows == 3000 * 72 * 512


@pytest.mark.parametrize(("paper", "size"), [("none", "full"), ("ccta", "tiny")])
def test_other_papers_and_sizes_are_refused(paper: str, size: str) -> None:
    with pytest.raises(StudyError, match=r"there are: .*(ccta|smoke)"):
        compose(paper, size)
