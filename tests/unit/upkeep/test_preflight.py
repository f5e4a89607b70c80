"""What is missing or wrong is told before any work, all of it at once, each with the line of the study that names it.

The table `PLANTED` plants one mistake at a time into a study in which nothing is missing. Every field of a study that can
name something outside (a file, model, dataset, column, package, program) has to be looked after by a check or by the
plans, and to have a mistake planted; a new field that is in no table fails.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import typing
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from xlwh.cli import main
from xlwh.demo import study_path
from xlwh.demo.grammar import DATA
from xlwh.errors import StudyError
from xlwh.steps import job
from xlwh.steps.plan import STEPS, partitions
from xlwh.study import OwnMethod, Study, load
from xlwh.upkeep import preflight
from xlwh.upkeep.survey import surveyed

STUDY = """
name = "planted"
languages = ["en", "de"]
data_root = "data"

[datasets.train]
reader = "xnli"
path = "."
split = "train"
languages = ["en"]
max_examples = 24

[datasets.nli]
reader = "xnli"
path = "."
max_examples = 12

[datasets.reviews]
reader = "text_classification"
path = "reviews"
languages = ["en"]
max_examples = 12
options = { file = "{split}-{language}.csv", text = "text", label = "label" }

[datasets.packed]
reader = "udpos"
path = "tags.zip"
languages = ["en"]
max_examples = 12
options = { member = "{split}-{language}.tsv" }

[models.base]
path = "model"

[models.named]
path = "named"
published_as = "mBERT"

[models.tuned]
datasets = ["nli", "reviews", "packed"]
max_length = 48

[models.tuned.finetune]
base = "base"
dataset = "train"
dev_dataset = "train"
languages = ["en"]
epochs = 1

[attribution]
max_examples = 4

[attribution.methods.deeplift]

[attribution.methods.gradient_shap]

[attribution.methods.mine]
function = "mine:explain"

[spaces.own]
kind = "input_embeddings"
pivot = "en"
reversed_dictionaries = []

[spaces.own.dictionaries]
de = "dictionaries/en-de.txt"

[consistency]
space = "own"
datasets = ["nli"]

[concepts]
datasets = ["nli"]
models = ["base"]
clusters = 4
labels = "labels.csv"
algorithm = "torch"

[lexica.aligned]
datasets = ["nli"]
pairs = [["en", "de"]]

[lexica.aligned.aligner]
command = "cat {input} {forward} {reverse}"

[[lexica.given.files]]
source = "en"
target = "de"
path = "dictionaries/en-de.txt"

[concept_alignment]
"""

HEAD_OF_A_TABLE = "select missing from predictions"


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """A study in which nothing is missing."""
    folder = tmp_path / "study"
    data = folder / "data"
    (data / "reviews").mkdir(parents=True)
    for name in ("train-en.tsv", "dev-en.tsv", "dev-de.tsv"):
        shutil.copy(DATA / name, data / name)
    shutil.copytree(DATA / "dictionaries", data / "dictionaries")
    rows = "".join(f"{number},A text of {number} words.,{'ab'[number % 2]}\n" for number in range(2000))
    (data / "reviews" / "dev-en.csv").write_text("id,text,label\n" + rows)
    with zipfile.ZipFile(data / "tags.zip", "w") as packed:
        packed.write(DATA / "tags" / "dev-en.tsv", "dev-en.tsv")
        packed.writestr("other-en.tsv", "x")
    for name in ("model", "named"):
        shutil.copytree(DATA.parent / "model", folder / name)
    (folder / "mine.py").write_text("def explain(*given): ...\n")
    (folder / "labels.csv").write_text("model,clustering,concept,label\n")
    (folder / "sql").mkdir()
    (folder / "sql" / "own.sql").write_text("select model from predictions")
    (folder / "study.toml").write_text(STUDY)
    return folder / "study.toml"


@dataclass(frozen=True)
class Planted:
    """A mistake, and what has to be said of it."""

    field: str
    """The field of the study that it is about."""
    told: str
    """Part of the message."""
    line: str
    """Beginning of the line of the study that the message names."""
    said: tuple[str, str] | None = None
    """(text of the study, what is written in its place)."""
    do: Callable[[Path], Any] | None = None
    """What is done to the study's folder."""


def _written(name: str, content: bytes | str) -> Callable[[Path], Any]:
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw)


def _cut_short(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def _headed(**told: object) -> Callable[[Path], Any]:
    """The checkpoint `named` as one that chooses between two classes."""

    def change(folder: Path) -> None:
        file = folder / "named" / "config.json"
        config = json.loads(file.read_text()) | {"architectures": ["BertForSequenceClassification"]} | told
        file.write_text(json.dumps(config))

    return change


def _packed_and_cut(pack: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    """What is missing comes long after the lines that are looked at."""

    def change(folder: Path) -> None:
        file = folder / "data" / "reviews" / "dev-en.csv"
        text = "".join(
            f"{n},{hashlib.sha256(str(n).encode()).hexdigest()} and others,{'ab'[n % 2]}\n"
            for n in range(50_000)
        )
        file.with_name("dev-en.csv.gz").write_bytes(pack(b"id,text,label\n" + text.encode())[:-8])

    return change


def _removed(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def _recoded(folder: Path) -> None:
    file = folder / "data" / "dev-de.tsv"
    file.write_bytes(file.read_text(encoding="utf-8").encode("latin-1", "replace"))


def _and_german(folder: Path) -> None:
    with (folder / "study.toml").open("a") as file:
        file.write('[datasets.german]\nreader = "xnli"\npath = "."\nlanguages = ["de"]\n')


def P(field: str, told: str, line: str, said: tuple[str, str] | None = None, do: Any = None) -> Planted:  # noqa: N802 - a table is read more easily
    return Planted(field, told, line, said, do)


HUB = ('path = "named"', f'hub = "nobody/nothing"\nrevision = "{"0" * 40}"')
ON_HUB = (
    'reader = "text_classification"\npath = "reviews"\nlanguages = ["en"]\nmax_examples = 12\noptions = { file = "{split}-{language}.csv", text',
    f'reader = "hub"\nhub = "nobody/nothing"\nrevision = "{"0" * 40}"\nlanguages = ["en"]\noptions = {{ text',
)
PLANTED = [
    P("data_root", "does not exist", 'path = "."', ('data_root = "data"', 'data_root = "date"')),
    P("datasets.*.reader", "no reader `xnly`", 'reader = "xnly"', ('reader = "xnli"\npath = "."\nmax', 'reader = "xnly"\npath = "."\nmax')),
    P("datasets.*.path", "does not exist", 'path = "review"', ('path = "reviews"', 'path = "review"')),
    P("datasets.*.path", "dev-de.tsv", 'path = "."', do=_removed("data/dev-de.tsv")),
    P("datasets.*.path", "are not UTF-8", "[datasets.nli]", do=_recoded),
    P("datasets.*.path", "columns", 'reader = "xnli"', do=_written("data/dev-de.tsv", "a b\tc d\te f\tg\tneutral\n" * 50)),
    P("datasets.*.path", "Git LFS", "[datasets.nli]", do=_written("data/dev-de.tsv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
    P("datasets.*.split", "test-", 'path = "."', ('path = "."\nmax', 'path = "."\nsplit = "test"\nmax')),
    P("datasets.*.languages", "no file `dev-fr.csv`", 'path = "reviews"', ('path = "reviews"\nlanguages = ["en"]', 'path = "reviews"\nlanguages = ["en", "fr"]')),
    P("datasets.*.options", "no column `txt`", "options = { file", ('text = "text"', 'text = "txt"')),
    P("datasets.*.options", "no such option", "options = { file", ('text = "text"', 'text = "text", column = "text"')),
    P("datasets.*.options", "in which no single member", "options = { member", ('member = "{split}', 'member = "{split}ed')),
    P("datasets.*.hub", "nobody/nothing", "hub =", ON_HUB),
    P("datasets.*.revision", "0000", "hub =", ON_HUB),
    P("models.*.path", "no folder", 'path = "modell"', ('path = "model"', 'path = "modell"')),
    P("models.*.path", "holds no config.json", 'path = "named"', do=_removed("named/config.json")),
    P("models.*.path", "model.safetensors is missing", 'path = "named"', do=lambda folder: (folder / "named/model.safetensors").rename(folder / "named/other.safetensors")),
    P("models.*.path", "a part of a download", 'path = "named"', do=_cut_short("named/model.safetensors")),
    P("models.*.path", "no adapter", 'path = "named"', do=lambda folder: (folder / "named/config.json").write_text('{"model_type": "gpt9"}')),
    P("models.*.path", "no tokenizer files", 'path = "named"', do=lambda folder: [file.unlink() for file in (folder / "named").iterdir() if file.name not in ("config.json", "model.safetensors")]),
    P("models.*.adapter", "which `adapter` names", 'adapter = "lora"', ('path = "named"', 'path = "named"\nadapter = "lora"')),
    P("models.*.labels", "3 labels (a, b, c), the checkpoint has 2 classes", "labels = ", ('path = "named"', 'path = "named"\nlabels = ["a", "b", "c"]'), _headed()),
    P("models.*.labels", "`a` twice", "labels = ", ('path = "named"', 'path = "named"\nlabels = ["a", "a"]'), _headed()),
    P("models.*.labels", "does not say which class is which", "[models.named]", do=_headed(id2label={"0": "a", "2": "b"})),
    P("models.*.labels", "its head has one output", "[models.named]", do=_headed(id2label={"0": "a"})),
    P("models.*.labels", "for regression", "[models.named]", do=_headed(problem_type="regression")),
    P("datasets.*.path", "ends in the middle of its packed data", "[datasets.reviews]", ('{split}-{language}.csv', '{split}-{language}.csv.gz'), _packed_and_cut(gzip.compress)),
    P("datasets.*.path", "ends in the middle of its packed data", "[datasets.reviews]", ('{split}-{language}.csv', '{split}-{language}.csv.gz'), _packed_and_cut(bz2.compress)),
    P("datasets.*.path", "ends in the middle of its packed data", "[datasets.reviews]", ('{split}-{language}.csv', '{split}-{language}.csv.gz'), _packed_and_cut(lzma.compress)),
    P("models.*.hub", "is not in the hub cache", "hub =", HUB),
    P("models.*.revision", "0" * 40, "hub =", HUB),
    P("models.*.published_as", "`mBIRD`", "published_as", ("mBERT", "mBIRD")),
    P("models.*.finetune.base", "no folder", 'path = "modell"', ('path = "model"', 'path = "modell"')),
    P("models.*.finetune.dataset", "train-en", 'path = "."', do=_removed("data/train-en.tsv")),
    P("models.*.finetune.dev_dataset", "is read in none of the languages", "dev_dataset", ('dev_dataset = "train"', 'dev_dataset = "german"'), _and_german),
    P("models.*.weights_of", "no folder", 'path = "modell"', ('path = "named"\npublished_as = "mBERT"', 'weights_of = "lost"\n[models.lost]\npath = "modell"')),
    P("models.*.scratch.tokenizer_of", "no folder", 'path = "modell"', ('path = "named"\npublished_as = "mBERT"', 'scratch = { tokenizer_of = "lost" }\n[models.lost]\npath = "modell"')),
    P("models.*.scratch.dataset", "train-en", 'path = "."', ('path = "named"\npublished_as = "mBERT"', 'scratch = { dataset = "train" }'), _removed("data/train-en.tsv")),
    P("attribution.methods.*.function", "no module `yours`", 'function = "yours:explain"', ("mine:explain", "yours:explain")),
    P("attribution.methods.*.function", "has no `explian`", 'function = "mine:explian"', ("mine:explain", "mine:explian")),
    P("attribution.methods.*.function", "imports `nowhere`, which is not installed", 'function = "mine:explain"', do=_written("mine.py", "from nowhere.at import all\ndef explain(): ...\n")),
    P("attribution.methods.*.function", "no Python module", 'function = "mine:explain"', do=_written("mine.py", "def explain(:")),
    P("spaces.*.dictionaries", "No dictionary", "de = ", ('de = "dictionaries/en-de.txt"', 'de = "dictionaries/en-dd.txt"')),
    P("spaces.*.dictionaries", "word vectors", "de = ", ('de = "dictionaries/en-de.txt"', 'de = "vectors.txt"'), _written("data/vectors.txt", "word 0.1 0.2 0.3 0.4\n" * 20)),
    P("spaces.*.files", "No vector file", "files = ", ('kind = "input_embeddings"\npivot = "en"', 'kind = "vec"\nfiles = { en = "en.vec", de = "de.vec" }')),
    P("spaces.*.files", "not a word followed by", "files = ", ('kind = "input_embeddings"\npivot = "en"', 'kind = "vec"\nfiles = { en = "en.vec", de = "en.vec" }'), _written("data/en.vec", "2 3\na 1 2\nb 3 4\n")),
    P("spaces.*.reversed_dictionaries", "`es` has no dictionary", "reversed_dictionaries", ("reversed_dictionaries = []", 'reversed_dictionaries = ["es"]')),
    P("lexica.*.files.*.path", "No dictionary", 'path = "dictionaries/en-dd.txt"', ('target = "de"\npath = "dictionaries/en-de.txt"', 'target = "de"\npath = "dictionaries/en-dd.txt"')),
    P("lexica.*.aligner.command", "no program `eflomal-aline`", "command", ('"cat {input}', '"eflomal-aline {input}')),
    P("lexica.*.aligner.command", "lacks {reverse}", "command", (" {reverse}", "")),
    P("lexica.*.datasets", "none of reviews has both", "[lexica.aligned]", ('datasets = ["nli"]\npairs', 'datasets = ["reviews"]\npairs')),
    P("lexica.*.pairs", "none of nli has both", "[lexica.aligned]", ('pairs = [["en", "de"]]', 'pairs = [["en", "fr"]]\n[datasets.french]\nreader = "xnli"\npath = "reviews"\nlanguages = ["fr"]')),
    P("concepts.labels", "which `concepts.labels`", "labels = ", ('"labels.csv"', '"label.csv"')),
    P("concepts.labels", "the header lacks label", "labels = ", do=_written("labels.csv", "model,clustering,concept\n")),
    P("folder", "own.sql", "name = ", do=_written("sql/own.sql", HEAD_OF_A_TABLE)),
]  # fmt: skip

PACKAGES = {
    "attribution.methods.deeplift": ("captum", None),
    "attribution.methods.gradient_shap": ("scipy", None),
    "concepts.algorithm": ("faiss", ('algorithm = "torch"', 'algorithm = "faiss"')),
}
"""Fields whose value needs a package -> the package, and what is written into the study."""

UNCHECKED = {
    **dict.fromkeys(
        ("name", "languages"), "they name nothing outside; what a language needs is in the datasets"
    ),
    **dict.fromkeys(
        (
            "models.*.datasets",
            "models.*.finetune.languages",
            "models.*.finetune.dev_languages",
            "models.*.attribution_methods",
            "models.*.scratch.languages",
            "models.*.languages",
            "models.*.source_languages",
            "models.*.finetuned_languages",
            "models.*.counterpart_of",
            "attribution.probes.models",
            "attribution.probes.datasets",
            "attribution.probes.methods",
            "consistency.space",
            "consistency.models",
            "consistency.datasets",
            "consistency.methods",
            "concepts.datasets",
            "concepts.models",
            "concepts.monolingual",
            "concepts.mixed",
            "lexica.*.files.*.source",
            "lexica.*.files.*.target",
            "concept_alignment.lexica",
            "faithfulness.models",
            "faithfulness.datasets",
            "faithfulness.methods",
            "faithfulness.keep_query",
            "heads.datasets",
            "heads.models",
            "heads.zero_shot_from",
        ),
        "a name of the study's own, which reading the study checks",
    ),
    "spaces.*.pivot": "a language; the words of its dictionaries are checked",
    "models.*.scratch.config": "values of a library's class, told when the model is made",
    "heads.groups": "compared with the model's heads when it is loaded",
}
"""Fields of text that no check looks after -> why."""

CHOICES = {
    "datasets.*.aligned", "models.*.tagged_piece", "models.*.finetune.autocast", "models.*.scratch.family",
    "models.*.randomization.parts", "models.*.dtype", "models.*.attention", "attribution.target",
    "attribution.methods.*.quadrature", "attribution.methods.*.baseline", "attribution.methods.*.reduction",
    "attribution.methods.*.replace_by", "spaces.*.kind", "consistency.unit", "consistency.normalizations",
    "faithfulness.masking", "faithfulness.importance", "faithfulness.soft_masking", "heads.score", "heads.precision",
    "heads.samplers.*.estimator", "heads.samplers.*.players", "heads.importance", "concepts.layers", "concepts.stacks",
    "concepts.conventions", "concepts.aggregation", "lexica.*.aligner.model", "lexica.*.aligner.tension_update",
}  # fmt: skip
"""Fields with a few values, none of which needs a package that xlwh does not come with."""


def _faults(study_file: Path) -> list[str]:
    study = load(study_file)
    everything = {step: partitions(study, step) for step in STEPS.values()}
    with surveyed(study, study_file.parent / "none", everything) as survey:
        return preflight.told(survey.looked.faults, study_file)


def _line_of(fault: str) -> int:
    return int(fault.split(", line ")[1].split(":")[0])


def _plant(study_file: Path, planted: Planted) -> None:
    if planted.said is not None:
        old, new = planted.said
        text = study_file.read_text()
        assert old in text
        study_file.write_text(text.replace(old, new, 1))
    if planted.do is not None:
        planted.do(study_file.parent)


def test_nothing_is_missing_in_a_study_that_is_complete(study_file: Path) -> None:
    study = load(study_file)
    with surveyed(
        study, study_file.parent / "none", {s: partitions(study, s) for s in STEPS.values()}
    ) as survey:
        assert survey.looked.faults == []
        assert survey.waiting == {}
        assert survey.is_possible


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: f"{planted.field}: {planted.told}"[:60])
def test_a_planted_mistake_is_told_with_its_line(planted: Planted, study_file: Path) -> None:
    _plant(study_file, planted)
    found = [fault for fault in _faults(study_file) if planted.told in fault]
    lines = study_file.read_text().splitlines()
    assert found, _faults(study_file)
    assert any(lines[_line_of(fault) - 1].startswith(planted.line) for fault in found), found


FILES_NOT_THERE = [
    planted
    for planted in PLANTED
    if planted.told in ("No dictionary", "No vector file", "which `concepts.labels`")
]


@pytest.mark.parametrize("planted", FILES_NOT_THERE, ids=lambda planted: planted.field)
def test_a_file_that_is_not_there_is_told_once(planted: Planted, study_file: Path) -> None:
    """By the check, with its line; not again by the plans that would open it. Two languages may lack one each."""
    _plant(study_file, planted)
    faults = _faults(study_file)
    assert faults
    assert all(planted.told in fault for fault in faults), faults
    assert len({fault.split(": ", 1)[1] for fault in faults}) == len(faults)


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_checkpoint_of_several_models_is_told_once_with_all_of_them(broken: str, study_file: Path) -> None:
    text = study_file.read_text() + '[models.second]\npath = "named"\nmax_length = 16\n'
    study_file.write_text(text)
    (study_file.parent / "named" / broken).unlink()
    for other in (study_file.parent / "named").glob("*token*"):
        other.unlink(missing_ok=True)
    [fault] = _faults(study_file)
    assert text.splitlines()[_line_of(fault) - 1] == 'path = "named"'
    assert "Models `named`, `second`: " in fault


def test_a_head_of_several_models_is_told_once_with_all_of_them(study_file: Path) -> None:
    alike = '[models.second]\npath = "named"\nmax_length = 16\n[models.third]\nweights_of = "named"\nmax_length = 16\n'
    other = '[models.fourth]\npath = "named"\nlabels = ["a", "b"]\n'
    study_file.write_text(study_file.read_text() + alike + other)
    _headed(id2label={"0": "a", "2": "b"})(study_file.parent)
    [fault] = _faults(study_file)
    assert "Models `named`, `second`, `third`: " in fault


def test_a_head_that_only_a_new_one_is_put_in_place_of_is_not_judged(study_file: Path) -> None:
    study = load(study_file)
    chosen = {STEPS["tokens"]: partitions(study, STEPS["tokens"])}
    _headed(id2label={"0": "a"})(study_file.parent)
    with surveyed(load(study_file), study_file.parent / "none", chosen) as survey:
        assert survey.looked.faults == []


def test_an_own_method_may_do_without_what_it_tries_to_import(study_file: Path) -> None:
    text = "import json\ntry:\n    import nowhere\nexcept ImportError:\n    nowhere = None\ndef explain():\n    import nowhere\n"
    (study_file.parent / "mine.py").write_text(text)
    assert _faults(study_file) == []


@pytest.mark.parametrize(("field", "needed"), PACKAGES.items(), ids=list(PACKAGES))
def test_a_package_that_is_not_installed_is_told(
    field: str, needed: tuple[str, Any], study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, said = needed
    _plant(study_file, Planted(field, "", "", said))
    genuine = job.library_version

    def version(name: str) -> str:
        if name == package:
            raise StudyError(f"The study's settings need {name}, which is not installed: pip install {name}")
        return genuine(name)

    monkeypatch.setattr(job, "library_version", version)
    (told,) = [fault for fault in _faults(study_file) if "is not installed" in fault]
    assert package in told


def test_every_field_that_names_something_outside_is_looked_after() -> None:
    covered = {name for fields in preflight.CHECKS.values() for name in fields} | set(preflight.PLANNED)
    fields = set(_fields(Study))
    untold = {name for name, kind in _fields(Study).items() if kind == "text"} - covered - set(UNCHECKED)
    assert untold == set(), "say in preflight what looks after it, or in UNCHECKED why nothing has to"
    choices = {name for name, kind in _fields(Study).items() if kind == "choice"} - covered - CHOICES
    assert choices == set(), "say in CHOICES that it needs no package, or have it checked"
    assert covered <= fields
    assert set(UNCHECKED) <= fields - covered
    assert fields - covered >= CHOICES


def test_every_field_that_is_looked_after_has_a_mistake_planted() -> None:
    covered = {name for fields in preflight.CHECKS.values() for name in fields} | set(preflight.PLANNED)
    planted = {each.field for each in PLANTED} | set(PACKAGES)
    assert covered - planted == set()
    assert planted - covered == set()


SHOWN = {
    ("datasets.*.path", "are not UTF-8"),
    ("datasets.*.options", "no column `txt`"),
    ("models.*.path", "a part of a download"),
    ("attribution.methods.*.function", "has no `explian`"),
    ("spaces.*.dictionaries", "word vectors"),
    ("lexica.*.aligner.command", "no program `eflomal-aline`"),
    ("concepts.labels", "the header lacks label"),
}


@pytest.mark.parametrize("command", ["plan", "materialize"])
def test_all_mistakes_are_told_before_any_work(
    command: str, study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of seven kinds, each with its line; and not even a warehouse is made."""
    chosen = [each for each in PLANTED if (each.field, each.told) in SHOWN]
    assert len(chosen) == len(SHOWN) == 7
    for planted in chosen:
        _plant(study_file, planted)
    assert main([command, "--study", str(study_file), "--warehouse", str(tmp_path / "w")]) == 1
    err, lines = capsys.readouterr().err, study_file.read_text().splitlines()
    told = [line.removeprefix("Error: ") for line in err.splitlines() if line.startswith("Error: ")]
    for planted in chosen:
        (fault,) = [line for line in told if planted.told in line]
        assert lines[_line_of(fault) - 1].startswith(planted.line), fault
    assert len(told) == len(chosen), told
    assert not (tmp_path / "w").exists()
    assert ("Nothing was made" in err) == (command == "materialize")


def _fields(part: type[BaseModel], name: str = "") -> dict[str, str]:
    """Every field of a study -> text, choice, or other."""
    found: dict[str, str] = {}
    for field, info in part.model_fields.items():
        place = f"{name}.{field}" if name else field
        found |= _kinds(info.annotation, place)
    if name == "attribution.methods":
        found |= {
            f"{name}.*.{key.rpartition('.')[2]}": kind
            for key, kind in list(found.items())
            if key.count(".") > 2
        }
        found |= _fields(OwnMethod, f"{name}.*")
        # Of the methods themselves only those that need a package.
        found = {key: kind for key, kind in found.items() if ".*." in key} | {
            f"{name}.{method}": "other" for method in ("deeplift", "gradient_shap")
        }
    return found


def _kinds(annotation: Any, place: str) -> dict[str, str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _fields(annotation, place)
    found: dict[str, str] = {}
    origin, arguments = typing.get_origin(annotation), list(_arguments(annotation))
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            several = origin is not None and not _is_optional(annotation)
            found |= _fields(argument, f"{place}.*" if several else place)
    if found:
        return found
    if any(each in (str, Path, Any) for each in [annotation, *arguments]):
        return {place: "text"}
    is_choice = any(isinstance(each, str) for each in arguments)
    return {place: "choice" if is_choice else "other"}


def _is_optional(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def _arguments(annotation: Any) -> Iterator[Any]:
    for argument in typing.get_args(annotation):
        yield argument
        yield from _arguments(argument)


@pytest.mark.parametrize("command", ["plan", "materialize"])
def test_a_folder_that_duckdb_cannot_open_is_refused_before_any_work(
    command: str, study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--study", str(study_file), "--warehouse", str(tmp_path / "a?b")]) == 1
    assert "has a `?` in its path" in capsys.readouterr().err
    assert not (tmp_path / "a?b").exists()


def test_nothing_is_made_in_a_folder_that_may_only_be_read(
    study_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "w"
    root.mkdir()
    genuine = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode, **named: path != root and genuine(path, mode, **named)
    )
    assert main(["materialize", "--study", str(study_file), "--warehouse", str(root)]) == 1
    assert "Nothing can be changed in the warehouse" in capsys.readouterr().err
    assert list(root.iterdir()) == []


def test_the_order_in_which_partitions_are_named_does_not_matter(tmp_path: Path) -> None:
    # It has models that are trained from others which are made too.
    study = load(study_path())
    backwards = {STEPS["models"]: partitions(study, STEPS["models"])[::-1]}
    chosen = {STEPS["examples"]: partitions(study, STEPS["examples"]), **backwards}
    with surveyed(study, tmp_path / "none", chosen) as survey:
        assert {step.name: plan.waiting for step, plan in survey.plans.items()} == {
            "examples": {},
            "models": {},
        }
