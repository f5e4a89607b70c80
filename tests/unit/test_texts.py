"""Numbers and TOML of others: no text is too long, nested too deeply or written too strangely for a clear error."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlwh.cli.care import Duration, Sample
from xlwh.concepts import labels
from xlwh.concepts.alignment_gold import read_naacl, read_tsv
from xlwh.consistency.vectors import require_vectors
from xlwh.corpora.dictionaries import require_dictionary
from xlwh.corpora.mapping import RefusalError, _named
from xlwh.errors import XlwhError
from xlwh.heads.export import read_mask
from xlwh.models.pins import shapes
from xlwh.report.explorer.app import _concept_names, _start
from xlwh.report.papers.settings import read_settings
from xlwh.sources import lock, pin, registry
from xlwh.steps.cluster import _require_answer
from xlwh.store.files import PLACE
from xlwh.store.place import read_place
from xlwh.study import load
from xlwh.texts import parsed_toml, whole_number

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = ("9" * 5000, "9" * 19, "²", "٣" * 5000)
"""Too long for Python, too long for 64 bits, a digit that is no decimal one, and of another script."""
REFUSED = (XlwhError, RefusalError, click.BadParameter)


@given(st.integers(0, 10**18 - 1))
def test_numbers_are_read(number: int) -> None:
    assert whole_number(str(number)) == whole_number(str(number).encode()) == number


@given(st.text() | st.text("0123456789²٣-+_ .e", max_size=30) | st.sampled_from(NUMBERS))
def test_no_text_is_an_error(text: str) -> None:
    found = whole_number(text)
    assert found is None or 0 <= found < 10**18
    assert whole_number(text.encode(errors="surrogatepass")) in (found, None)


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 100_000, "a =", "\0"])
def test_toml_that_cannot_be_read_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any
        parsed_toml(text)


def _pairs(folder: Path, number: str) -> None:
    (folder / "pairs").write_text(f"a b\tx y\t0-{number}\n")
    read_tsv(folder / "pairs")


def _links(folder: Path, number: str) -> None:
    for side in ("e", "f"):
        (folder / side).write_text("<s snum=0001> a b </s>\n")
    (folder / "wa").write_text(f"{number} 1 1 S\n")
    read_naacl(folder / "e", folder / "f", folder / "wa")


def _vectors(folder: Path, number: str) -> None:
    (folder / "vectors").write_text(f"{number} {number}\n")
    require_vectors(folder / "vectors")


def _dictionary(folder: Path, number: str) -> None:
    (folder / "words").write_text(f"a -> b: Probability = 0.5, Count = {number}\n" * 3)
    require_dictionary(folder / "words")


def _labels(folder: Path, number: str) -> None:
    (folder / "labels.csv").write_text(f"model,clustering,concept,label\nm,c,{number},x\n")
    labels.read(folder / "labels.csv")


def _weights(folder: Path, number: str) -> None:
    header = f'{{"a": {{"shape": [{number}], "data_offsets": [0, {number}]}}}}'.encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    shapes("m", folder)


READERS: dict[str, Callable[[Path, str], object]] = {
    "duration": lambda folder, number: Duration().convert(f"{number}d", None, None),
    "sample": lambda folder, number: Sample().convert(number, None, None),
    "links of a pair": _pairs,
    "links of sentences": _links,
    "header of vectors": _vectors,
    "dictionary": _dictionary,
    "labels of concepts": _labels,
    "mask": lambda folder, number: read_mask(f'{{"removed_heads": {{"0": [{number}]}}}}'),
    "mask, layer": lambda folder, number: read_mask(f'{{"removed_heads": {{"{number}": [0]}}}}'),
    "header of weights": _weights,
    "class of a row": lambda folder, number: _named(number, "label", ("no", "yes"), {}),
    "concept in an address": lambda folder, number: _concept_names(
        SimpleNamespace(query_params={"model": "m", "clustering": "c", "concept": number})  # type: ignore[arg-type]
    ),
    "port of a cluster": lambda folder, number: _require_answer(f"localhost:{number}"),
}


@pytest.mark.parametrize("number", NUMBERS, ids=["5000 digits", "19 digits", "superscript", "Arabic"])
@pytest.mark.parametrize("reader", READERS)
def test_a_strange_number_is_read_or_refused_in_a_line(reader: str, number: str, tmp_path: Path) -> None:
    refused = None
    try:
        READERS[reader](tmp_path, number)
    except REFUSED as error:
        refused = str(error)
    assert refused is not None or len(number) < 20, "nobody has that many"
    assert refused is None or 0 < len(refused) < 600


@pytest.mark.parametrize("start", NUMBERS)
def test_a_strange_start_is_the_beginning(start: str) -> None:
    assert _start({"start": start}) == 0


TOML: dict[str, tuple[str, Callable[[Path], object]]] = {
    "study": ("study.toml", load),
    "study to be pinned": ("study.toml", pin._raw),
    "study to be compared": ("study.toml", read_settings),
    "lock": (lock.NAME, lambda file: lock.Lock(file.parent)),
    "registry": ("sources.toml", registry._read),
    "place of the manifest": (PLACE, lambda file: read_place(file.parent)),
}


@pytest.mark.parametrize("text", ["a = " + "9" * 5000, "a = " + "[" * 100_000], ids=["long", "deep"])
@pytest.mark.parametrize("what", TOML)
def test_toml_of_others_is_refused_by_name(what: str, text: str, tmp_path: Path) -> None:
    name, read = TOML[what]
    (tmp_path / name).write_text(text)
    with pytest.raises(XlwhError, match=name) as refused:
        read(tmp_path / name)
    assert len(str(refused.value)) < 600


OWN_TOML = {
    "xlwh/papers/__init__.py",
    "xlwh/papers/edit.py",
    "xlwh/tables/glossary.py",
    "xlwh/demo/lexicon.py",
}
"""Who reads nothing but files of the package."""


def test_toml_of_others_is_read_in_one_place() -> None:
    found = set()
    for path in (ROOT / "xlwh").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("tomllib.loads", "tomllib.load"):
                found.add(path.relative_to(ROOT).as_posix())
    assert found == {"xlwh/texts.py"} | OWN_TOML


def test_digits_are_no_number_yet() -> None:
    """`int` of a text that merely consists of digits may fail: of such functions only `whole_number` calls it."""
    wrong = []
    for path in (*(ROOT / "xlwh").rglob("*.py"), *(ROOT / "dagster_project").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            asked = {
                ast.unparse(call.func.value)
                for call in calls
                if isinstance(call.func, ast.Attribute)
                and call.func.attr in ("isdecimal", "isdigit", "isnumeric")
            }
            wrong += [
                f"{path.relative_to(ROOT)}:{call.lineno}"
                for call in calls
                if ast.unparse(call.func) == "int" and call.args and ast.unparse(call.args[0]) in asked
            ]
    assert {place.rpartition(":")[0] for place in wrong} == BOUNDED


BOUNDED = {
    "xlwh/texts.py",
    "xlwh/cli/care.py",  # what was read as a finite float is short enough
    "xlwh/corpora/parallelism/features.py",  # fewer than 19 digits
}
"""Where the length of such a text is looked at first."""
