"""`xlwh fetch`: what a study needs comes here, only that, and every mishap is one clear error of its own."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import json
import lzma
import re
import shutil
import sys
import threading
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, HubServer
from huggingface_hub import close_session, constants

from xlwh import corpora
from xlwh.errors import CorpusError
from xlwh.models.hub import snapshot
from xlwh.sources import download, fetch
from xlwh.sources.lock import Lock, Locked
from xlwh.store.files import write_whole
from xlwh.study import load

from .conftest import MODEL, STUDY, Run, pairs

VECTORS = b"2 3\nein 1 0 0\nzwei 0 1 0\n" * 4000
SPACE = """
[spaces.words]
kind = "vec"
files = { de = "vectors/wiki.de.vec" }

[consistency]
space = "words"
"""


@pytest.fixture
def study(offered: HubServer, study_file: Path, xlwh: Run) -> Path:
    """A pinned study of a model and a dataset of the hub, and of a file that its own registry knows."""
    url = offered.add_file("/files/de.vec", VECTORS).replace("de.vec", "{language}.vec")
    study_file.write_text(STUDY + SPACE)
    registry = f'[[source]]\npath = "vectors/wiki.{{language}}.vec"\nurl = "{url}"\nlicence = "CC0"\n'
    (study_file.parent / "sources.toml").write_text(registry)
    assert xlwh("pin", study_file)[0] == 0
    offered.requests.clear()
    return study_file


def zipped(data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("pairs.txt", data)
    return stream.getvalue()


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def snapshot_files(kind: str, study_file: Path) -> set[str]:
    study = load(study_file)
    commit = study.models["bert"].revision if kind == "models" else study.datasets["nli"].revision
    name = "models--org--bert" if kind == "models" else "datasets--org--nli"
    return files(Path(constants.HF_HUB_CACHE) / name / "snapshots" / str(commit))


def test_only_what_is_loaded_comes_and_a_run_needs_no_network(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(study)
    with pytest.raises(CorpusError, match=r"Dataset `nli`: org/nli@\w+ was not fetched.*Run: xlwh fetch"):
        corpora.locate(loaded, "nli", "de")
    code, out, err = xlwh("fetch", study)
    assert code == 0, err
    assert "3 needs: 3 fetched." in out
    assert snapshot_files("models", study) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert snapshot_files("datasets", study) == {
        "README.md",
        "en/validation-00000-of-00001.parquet",
        "de/validation-00000-of-00001.parquet",
    }
    assert (study.parent / "data/vectors/wiki.de.vec").read_bytes() == VECTORS
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(offered.requests)
    revision = loaded.models["bert"].revision
    assert revision is not None
    assert snapshot("bert", "org/bert", revision).is_dir()
    reading = corpora.read(loaded, "nli", "de")
    # The classes are named in the card alone, under the only configuration that it describes.
    assert reading.examples["text"].to_list()[:2] == ["premise 0 in de", "premise 1 in de"]
    english = corpora.read(loaded, "nli", "en")
    assert english.examples["label"].to_list()[:3] == ["entailment", "neutral", "contradiction"]
    code, out, err = xlwh("fetch", study)
    assert (code, err, len(offered.requests)) == (0, "", asked)
    assert "3 needs: 3 there." in out


def test_a_dry_run_tells_sizes_and_licences_and_fetches_nothing(
    study: Path, offered: HubServer, xlwh: Run
) -> None:
    code, out, _ = xlwh("fetch", study, "--dry-run")
    assert code == 0
    for told in (
        "models.bert",
        "datasets.nli",
        "spaces.words.files.de",
        "apache-2.0",
        "cc-by-nc-4.0",
        "CC0",
        "to fetch",
    ):
        assert told in out
    size = sum(len(MODEL[name]) for name in ("config.json", "model.safetensors", "tokenizer.json"))
    assert f"{size / 1000:.1f} kB" in out
    assert not list(study.parent.rglob("*.vec"))
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.safetensors"))
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.parquet"))


def test_what_was_cut_off_goes_on(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    offered.fault("GET /lfs/", cut_after=3000)
    offered.fault("GET /files/de.vec", cut_after=50_000)
    assert xlwh("fetch", study)[0] == 0
    assert (study.parent / "data/vectors/wiki.de.vec").read_bytes() == VECTORS
    ranges = [
        a.headers.get("range") for a in offered.requests if a.path == "/files/de.vec" and a.method == "GET"
    ]
    assert ranges == [None, "bytes=50000-"]


def test_a_new_process_goes_on_with_what_another_began_unless_the_file_changed(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = study.parent / "data/vectors/wiki.de.vec"
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    offered.fault("GET /files/de.vec", cut_after=50_000)
    offered.fault("GET /files/de.vec", status=404)
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert "is gone (404)" in err
    assert [part.stat().st_size for part in target.parent.glob(".*.part")] == [50_000]
    assert xlwh("fetch", study)[0] == 0
    assert offered.requests[-1].headers["range"] == "bytes=50000-"
    assert target.read_bytes() == VECTORS
    assert files(target.parent) == {"wiki.de.vec"}
    target.unlink()
    (study.parent / "data/sources.lock.toml").unlink()
    offered.fault("GET /files/de.vec", cut_after=50_000)
    offered.fault("GET /files/de.vec", status=404)
    xlwh("fetch", study)
    other = VECTORS.replace(b"ein", b"one")
    offered.add_file("/files/de.vec", other)
    assert xlwh("fetch", study)[0] == 0
    assert target.read_bytes() == other


def test_a_file_without_a_known_digest_is_locked_and_a_changed_one_refused(
    study: Path, offered: HubServer, xlwh: Run
) -> None:
    xlwh("fetch", study)
    lock = study.parent / "data/sources.lock.toml"
    entry = tomllib.loads(lock.read_text())["vectors/wiki.de.vec"]
    assert entry["sha256"] == hashlib.sha256(VECTORS).hexdigest()
    assert entry["bytes"] == len(VECTORS)
    target = study.parent / "data/vectors/wiki.de.vec"
    target.unlink()
    offered.add_file("/files/de.vec", VECTORS.replace(b"ein", b"one"))
    code, out, err = xlwh("fetch", study)
    assert code == 1
    assert "sends is another file than before" in err
    assert "2 there, 1 failed" in out
    assert files(target.parent) == set()
    target.write_bytes(VECTORS.replace(b"ein", b"one"))
    assert xlwh("fetch", study)[0] == 0
    code, _, err = xlwh("fetch", study, "--verify")
    assert code == 1
    assert "is another file than the one that was fetched" in err
    target.write_bytes(VECTORS[:-1])
    assert "bytes in place of" in xlwh("fetch", study)[2]


def test_a_known_digest_is_the_one_that_counts(study: Path, offered: HubServer, xlwh: Run) -> None:
    registry = study.parent / "sources.toml"
    wrong = '[source.files]\n"vectors/wiki.de.vec" = { sha256 = "' + "0" * 64 + '" }\n'
    registry.write_text(registry.read_text() + wrong)
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert f"SHA-256 {hashlib.sha256(VECTORS).hexdigest()}, and {'0' * 64} is expected" in err
    assert not (study.parent / "data/sources.lock.toml").exists()


def test_damaged_bytes_are_removed_and_told(study: Path, offered: HubServer, xlwh: Run) -> None:
    offered.damage("model", "org/bert", "model.safetensors", b"wEights" * 1000)
    rows = "de/validation-00000-of-00001.parquet"
    offered.damage("dataset", "org/nli", rows, pairs("xx"))
    code, out, err = xlwh("fetch", study)
    assert code == 1
    assert "models.bert: model org/bert at" in err
    assert "the bytes of model.safetensors are not those of the digest" in err
    assert f"the bytes of {rows} are not those" in err
    assert "1 fetched, 2 failed" in out
    assert "model.safetensors" not in snapshot_files("models", study)
    offered.damage("model", "org/bert", "model.safetensors", MODEL["model.safetensors"])  # type: ignore[arg-type]
    offered.damage("dataset", "org/nli", rows, pairs("de"))
    assert xlwh("fetch", study)[0] == 0


def test_a_file_that_was_cut_in_the_cache_comes_again(study: Path, offered: HubServer, xlwh: Run) -> None:
    xlwh("fetch", study)
    (weights,) = Path(constants.HF_HUB_CACHE).rglob("snapshots/*/model.safetensors")
    weights.resolve().write_bytes(b"wei")
    code, out, _ = xlwh("fetch", study)
    assert (code, "2 there, 1 fetched" in out) == (0, True)
    assert weights.read_bytes() == MODEL["model.safetensors"]
    weights.resolve().write_bytes(b"WEIGHTS" * 1000)
    assert xlwh("fetch", study)[0] == 0
    assert "the bytes of model.safetensors are not those" in xlwh("fetch", study, "--verify")[2]


MISHAPS: dict[str, tuple[Any, str]] = {
    "gated": (lambda hub: gate(hub, "org/bert"), r"models.bert: model org/bert at \w+: is gated. Accept its terms at http"),
    "removed": (lambda hub: hub.remove("model", "org/bert"), r"there is no such repository .*Correct `hub`"),
    "private": (lambda hub: hide(hub, "org/bert"), r"or it is private.*HF_TOKEN"),
    "disabled": (lambda hub: disable(hub, "org/bert"), r"the hub has disabled it"),
    "rewritten": (lambda hub: hub.repositories["model", "org/bert"].commits.clear(), r"no such revision.*xlwh pin --renew"),
    "limit": (lambda hub: hub.fault("api/models", status=429, retry_after=3600, times=9), r"rate limit is reached for 3600 s"),
    "down": (lambda hub: hub.fault("api/models", status=502, times=9), r"the hub answers 502 .*also after 6 tries"),
    "forbidden": (lambda hub: hub.fault("api/models", status=403, times=9), r"the hub refuses it \(403"),
    "vectors": (lambda hub: hub.remove_file("/files/de.vec"), r"files/de.vec: is gone \(404\). Name its new address"),
    "page": (lambda hub: hub.add_file("/files/de.vec", b"<!DOCTYPE html><html>Sorry</html>"), r"sends no data: .*HTML page"),
    "nothing": (lambda hub: hub.add_file("/files/de.vec", b""), r"sends no data: .*empty"),
}  # fmt: skip


def gate(hub: HubServer, name: str) -> None:
    hub.repositories["model", name].gated = "auto"


def hide(hub: HubServer, name: str) -> None:
    hub.repositories["model", name].private = True


def disable(hub: HubServer, name: str) -> None:
    hub.repositories["model", name].disabled = True


@pytest.mark.parametrize("mishap", MISHAPS)
def test_a_mishap_is_one_error_and_the_rest_comes(
    mishap: str, study: Path, offered: HubServer, xlwh: Run
) -> None:

    happen, told = MISHAPS[mishap]
    happen(offered)
    code, out, err = xlwh("fetch", study)
    errors = [line for line in err.splitlines() if line.startswith("Error:")]
    assert code == 1
    assert len(errors) == 1
    assert re.search(told, errors[0]), errors[0]
    assert "3 needs: 2 fetched, 1 failed." in out


def test_a_token_opens_what_is_gated(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(offered, "org/bert")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert xlwh("fetch", study)[0] == 0
    stored = [a for a in offered.requests if a.path.startswith("/lfs/") or a.path.startswith("/files/")]
    assert stored
    assert all("authorization" not in a.headers for a in stored)


def test_short_limits_are_waited_for(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    offered.fault("HEAD /org/bert/resolve", status=429, retry_after=1)
    offered.fault("tree", status=503, times=2)
    offered.fault("HEAD /files/", status=503)
    offered.fault("GET /files/", status=429, retry_after=1)
    code, _, err = xlwh("fetch", study)
    assert code == 0, err


def test_a_commit_between_two_calls_changes_nothing(study: Path, offered: HubServer, xlwh: Run) -> None:
    def newer() -> None:
        offered.add_model("org/bert", MODEL | {"config.json": "{}"})

    offered.fault("GET /api/models/org/bert", then=newer)
    assert xlwh("fetch", study)[0] == 0
    (config,) = Path(constants.HF_HUB_CACHE).rglob("snapshots/*/config.json")
    assert config.read_text() == MODEL["config.json"]


def test_a_renamed_repository_comes_and_is_told(study: Path, offered: HubServer, xlwh: Run) -> None:
    offered.rename("model", "org/bert", "new/bert")
    code, _, err = xlwh("fetch", study)
    assert code == 0
    assert (
        'model org/bert is called new/bert today. It is still found by its old name; write `hub = "new/bert"`'
        in err
    )


def test_a_pinned_commit_without_safetensors(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    commit = offered.add_model("org/bert", {"config.json": "{}", "pytorch_model.bin": b"x"})
    study_file.write_text(STUDY.replace('hub = "org/bert"', f'revision = "{commit}"\nhub = "org/bert"'))
    xlwh("pin", study_file)
    code, out, err = xlwh("fetch", study_file)
    assert code == 1
    assert "has no safetensors" in err
    assert "1 fetched, 1 failed" in out


def test_what_no_registry_knows_is_told(study: Path, offered: HubServer, xlwh: Run) -> None:
    (study.parent / "sources.toml").unlink()
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert "wiki.de.vec is not there, and no registry knows where it comes from" in err


def test_disk_space_is_looked_at_first(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "_SPARE", 1 << 60)
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert "GB are free there. Make room" in err
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.safetensors"))


def test_without_a_network(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered.__exit__()
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    code, _, err = xlwh("fetch", study)
    assert code == 1
    # The hub is asked once, and each other server.
    assert err.count("cannot be reached") == 2, err
    assert f"Error: models.bert, datasets.nli: The hub {offered.url} cannot be reached" in err
    assert "Without a network: xlwh fetch --from" in err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert err.lower().count("not here, and hf_hub_offline is set") == 2
    assert "Error: models.bert, datasets.nli: Not here" in err


def test_every_need_has_a_licence_or_is_said_to_have_none(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a fetch, after it, without a network, for files that no registry knows and cards that say nothing."""
    given = study.parent / "data" / "by-hand.vec"
    given.parent.mkdir()
    given.write_bytes(VECTORS)
    study.write_text(study.read_text().replace("{ de =", '{ en = "by-hand.vec", de ='))
    bare = {name: data for name, data in MODEL.items() if name != "README.md"}
    stated = {
        "models.bert": "apache-2.0",
        "datasets.nli": "cc-by-nc-4.0",
        "spaces.words.files.de": "CC0",
        "spaces.words.files.en": "unknown",
    }
    assert licences(xlwh("fetch", study, "--dry-run")[1]) == stated
    with monkeypatch.context() as now:
        now.setattr(constants, "HF_HUB_OFFLINE", True)
        # The dataset's card came with the look before.
        assert licences(xlwh("fetch", study, "--dry-run")[1]) == stated | {"models.bert": "unknown"}
    assert licences(xlwh("fetch", study)[1]) == stated
    # The card of a model is not loaded, and what is there is not asked for again.
    assert licences(xlwh("fetch", study, "--dry-run")[1]) == stated | {"models.bert": "unknown"}
    study.write_text(re.sub(r'(?<=hub = "org/bert").*\nrevision = .*', "", study.read_text(), count=1))
    offered.add_model("org/bert", bare)
    assert xlwh("pin", study)[0] == 0
    assert licences(xlwh("fetch", study, "--dry-run")[1]) == stated | {"models.bert": "not stated"}


def test_a_dataset_that_was_not_fetched_is_told_once_and_a_file_that_is_gone_by_name(
    study: Path, xlwh: Run, tmp_path: Path
) -> None:
    def told() -> list[str]:
        err = xlwh("plan", "--no-probe", "--study", study, "--warehouse", tmp_path / "w")[2]
        absent = "No vector file" in err
        # What mends many faults at once is the last that is said.
        assert (err.endswith("Note: Can be fetched: vectors/wiki.de.vec. Run: xlwh fetch\n")) == absent
        return [line for line in err.splitlines() if "Dataset `nli`" in line]

    [line] = told()
    assert "was not fetched into the hub cache" in line
    assert "parquet" not in line
    assert line.endswith("Run: xlwh fetch")
    assert xlwh("fetch", study)[0] == 0
    assert told() == []
    [file] = Path(constants.HF_HUB_CACHE).rglob("snapshots/*/de/validation-*.parquet")
    file.unlink()
    [line] = told()
    assert "de/validation-00000-of-00001.parquet" in line


def licences(shown: str) -> dict[str, str]:
    """What a table says of each need, by the key of the study."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in shown.splitlines()]
    [head] = [line for line in lines if line[:2] == ["in the study", "from"]]
    return {line[0]: line[head.index("licence")] for line in lines if len(line) == len(head) and line != head}


def test_what_is_there_and_cannot_be_verified_is_not_called_absent(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    xlwh("fetch", study)
    # Of a model that another program cached, the hub's list of files is not there.
    shutil.rmtree(Path(constants.HF_HUB_CACHE) / "models--org--bert" / "trees")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "3 there" in xlwh("fetch", study)[1]
    code, _, err = xlwh("fetch", study, "--verify")
    assert (code, err.count("Error")) == (1, 1)
    assert (
        "models.bert, datasets.nli: Here, and not verified: digests are asked of the hub, and HF_HUB_OFFLINE is set"
        in err
    )
    offered.__exit__()
    close_session()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    code, _, err = xlwh("fetch", study, "--verify")
    assert code == 1
    assert err.count("cannot be reached") == err.count("Here, and not verified") == 1
    assert "kept" not in err


def test_a_dry_run_removes_nothing(study: Path, offered: HubServer, xlwh: Run) -> None:
    xlwh("fetch", study)
    (weights,) = Path(constants.HF_HUB_CACHE).rglob("model.safetensors")
    weights.resolve().write_bytes(b"x" * weights.stat().st_size)
    code, _, err = xlwh("fetch", study, "--verify", "--dry-run")
    assert code == 1
    assert "the bytes of model.safetensors are not those" in err
    assert "Nothing was removed" in err
    assert weights.is_file()
    assert "so they were removed" in xlwh("fetch", study, "--verify")[2]
    assert not weights.exists()
    # Nor where it brings a card, with which all that is there is checked.
    rows = next(Path(constants.HF_HUB_CACHE).rglob("*.parquet"))
    rows.resolve().write_bytes(b"x" * rows.stat().st_size)
    (next(parent for parent in rows.parents if parent.parent.name == "snapshots") / "README.md").unlink()
    assert "Nothing was removed" in xlwh("fetch", study, "--dry-run")[2]
    assert rows.is_file()


@pytest.mark.parametrize("place", ["folder", "store"])
def test_a_mirror_serves_another_machine(
    place: str, study: Path, offered: HubServer, xlwh: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = str(tmp_path / "mirror") if place == "folder" else "memory://mirror-of-a-test"
    code, out, err = xlwh("fetch", study, "--to", mirror)
    assert code == 0, err
    assert "Mirror" in out
    assert "0 B copied" in xlwh("fetch", study, "--to", mirror)[1]
    offered.__exit__()
    other = tmp_path / "other"
    other.mkdir()
    (other / "study.toml").write_text(study.read_text())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(other / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if place == "folder":
        # Read as it lies, by one setting.
        assert not any(file.is_symlink() for file in Path(mirror).rglob("*"))
        with monkeypatch.context() as patched:
            patched.setenv("XLWH_MIRROR", mirror)
            require_all(other / "study.toml")
            assert "3 there" in xlwh("fetch", other)[1]
    code, out, err = xlwh("fetch", other, "--from", mirror)
    assert code == 0, err
    require_all(other / "study.toml")
    assert (other / "data/vectors/wiki.de.vec").read_bytes() == VECTORS
    assert "3 there" in xlwh("fetch", other, "--from", mirror)[1]


def require_all(file: Path) -> None:
    study = load(file)
    revision = study.models["bert"].revision
    assert revision is not None
    assert (snapshot("bert", "org/bert", revision) / "model.safetensors").read_bytes() == MODEL[
        "model.safetensors"
    ]
    assert corpora.read(study, "nli", "de").examples.height == 9
    assert study.data_path("vectors/wiki.de.vec").read_bytes() == VECTORS


def test_a_damaged_or_absent_mirror(study: Path, offered: HubServer, xlwh: Run, tmp_path: Path) -> None:
    code, _, err = xlwh("fetch", study, "--from", tmp_path / "none")
    assert code == 1
    assert "There is no mirror at" in err
    mirror = tmp_path / "mirror"
    xlwh("fetch", study, "--to", mirror)
    (mirror / "data/vectors/wiki.de.vec").write_bytes(b"other")
    index = json.loads((mirror / "mirror.json").read_text())
    gone = next(name for name in index["files"] if name.endswith("model.safetensors"))
    del index["files"][gone]
    (mirror / "mirror.json").write_text(json.dumps(index))
    for place in (Path(constants.HF_HUB_CACHE), study.parent / "data"):
        shutil.rmtree(place)
    code, out, err = xlwh("fetch", study, "--from", mirror)
    assert code == 1
    assert "data/vectors/wiki.de.vec in the mirror" in err
    assert "is damaged" in err
    assert "model.safetensors is not in the mirror" in err
    assert "1 fetched, 2 failed" in out


def test_what_is_there_is_compared_with_the_mirror(
    study: Path, offered: HubServer, xlwh: Run, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    xlwh("fetch", study, "--to", mirror)
    revision = load(study).models["bert"].revision
    assert revision is not None
    weights = (snapshot("bert", "org/bert", revision) / "model.safetensors").resolve()
    weights.write_bytes(b"x" * weights.stat().st_size)
    offered.requests.clear()
    assert "3 there" in xlwh("fetch", study, "--from", mirror)[1]
    code, out, err = xlwh("fetch", study, "--from", mirror, "--verify")
    assert (code, offered.requests) == (0, []), err
    assert "2 there, 1 fetched" in out
    require_all(study)


def test_what_another_program_cached_is_verified_too(
    study: Path, offered: HubServer, xlwh: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xlwh("fetch", study)
    other = tmp_path / "other"
    shutil.copytree(constants.HF_HUB_CACHE, other, symlinks=True)
    shutil.rmtree(other / "models--org--bert" / "trees")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(other))
    weights = next(other.glob("models--*/snapshots/*/model.safetensors")).resolve()
    weights.write_bytes(b"x" * weights.stat().st_size)
    assert "3 there" in xlwh("fetch", study)[1]
    code, _, err = xlwh("fetch", study, "--verify")
    assert code == 1
    assert "the bytes of model.safetensors are not those" in err


def test_a_list_of_files_may_not_name_one_outside_of_its_folder(
    study: Path, offered: HubServer, xlwh: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = tmp_path / "mirror"
    xlwh("fetch", study, "--to", mirror)
    index = json.loads((mirror / "mirror.json").read_text())
    tree = next(name for name in index["files"] if "models--" in name and "/trees/" in name)
    changed = (mirror / tree).read_text().replace('"config.json"', '"../../../../config.json"').encode()
    (mirror / tree).write_bytes(changed)
    index["files"][tree] = {"bytes": len(changed), "sha256": hashlib.sha256(changed).hexdigest()}
    (mirror / "mirror.json").write_text(json.dumps(index))
    # Another one: the client remembers lists of files by their place.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "other"))
    code, _, err = xlwh("fetch", study, "--from", mirror)
    assert code == 1
    assert "names `../../../../config.json`, which lies outside of its folder" in err


def test_an_object_store_without_its_package(study: Path, xlwh: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    code, _, err = xlwh("fetch", study, "--to", "s3://bucket/mirror")
    assert code == 1
    assert "s3fs" in err


def test_a_mirror_in_an_object_store_is_no_setting(
    study: Path, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLWH_MIRROR", "s3://bucket/mirror")
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert "xlwh fetch --from s3://bucket/mirror" in err


PACKED: dict[str, bytes] = {
    "gz": gzip.compress(VECTORS),
    "tar.gz": gzip.compress(VECTORS),
    "bz2": bz2.compress(VECTORS),
    "xz": lzma.compress(VECTORS),
    "zip": zipped(VECTORS),
}


@pytest.mark.parametrize("suffix", PACKED)
def test_a_packed_file_of_unknown_length_has_its_end(
    suffix: str, offered: HubServer, study: Path, xlwh: Run
) -> None:
    data = PACKED[suffix]
    url = offered.add_file(f"/files/pairs.{suffix}", data, says_length=False)
    study.write_text(study.read_text().replace("wiki.de.vec", f"pairs.{suffix}"))
    registry = f'[[source]]\npath = "vectors/pairs.{suffix}"\nurl = "{url}"\nlicence = "CC0"\n'
    (study.parent / "sources.toml").write_text(registry)
    for cut in (len(data) // 2, len(data) - 1):
        offered.fault("GET /files/", cut_after=cut)
        code, _, err = xlwh("fetch", study)
        assert code == 1, err
        assert f"vectors/pairs.{suffix}: what {url} sent is cut short or damaged, and was not kept" in err
        assert files(study.parent / "data") == set()
    code, _, err = xlwh("fetch", study)
    assert code == 0
    assert "does not say how long it is, and no digest is known; it is packed, and was read to its end" in err
    assert (study.parent / f"data/vectors/pairs.{suffix}").read_bytes() == data


def test_of_a_plain_file_an_unknown_length_is_told_unless_the_registry_knows_it(
    study: Path, offered: HubServer, xlwh: Run
) -> None:
    offered.add_file("/files/de.vec", VECTORS, says_length=False)
    code, _, err = xlwh("fetch", study)
    assert code == 0
    assert "a transfer that was cut short looks like a whole one" in err
    shutil.rmtree(study.parent / "data")
    with (study.parent / "sources.toml").open("a") as registry:
        registry.write(f'[source.files."vectors/wiki.de.vec"]\nbytes = {len(VECTORS)}\n')
    offered.fault("GET /files/", cut_after=1000, times=99)
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert "the transfer broke off again and again" in err
    offered._faults.clear()
    code, _, err = xlwh("fetch", study)
    assert (code, "Warning" in err) == (0, False)


def test_without_a_digest_nothing_comes_unencrypted_over_a_network(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = study.parent / "sources.toml"
    here = registry.read_text()
    registry.write_text(here.replace("127.0.0.1", "files.example.org"))
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert "files.example.org" in err
    assert "is not encrypted" in err
    assert not [asked for asked in offered.requests if asked.path.startswith("/files")]
    # Nor from where another address leads.
    registry.write_text(here)
    elsewhere = offered.url.replace("127.0.0.1", "localhost") + "/files/de.vec"
    monkeypatch.setattr(download, "_is_loopback", lambda host: host == "127.0.0.1")
    offered.fault("HEAD /files/", status=302, headers={"Location": elsewhere})
    assert f"{elsewhere} is not encrypted" in xlwh("fetch", study)[2]
    digest = hashlib.sha256(VECTORS).hexdigest()
    registry.write_text(f'{here}[source.files."vectors/wiki.de.vec"]\nsha256 = "{digest}"\n')
    assert xlwh("fetch", study)[0] == 0


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
    ],
)
def test_what_a_loopback_is(host: str, is_loopback: bool) -> None:
    assert download._is_loopback(host) == is_loopback


@pytest.mark.parametrize("command", ["pin", "fetch", "plan", "materialize"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_mistyped_mirror_is_one_error(
    command: str,
    is_there: bool,
    study: Path,
    offered: HubServer,
    xlwh: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "mirrror"
    if is_there:
        place.mkdir()
    monkeypatch.setenv("XLWH_MIRROR", str(place))
    # Then the hub's cache alone is the mirror's.
    monkeypatch.setenv("XLWH_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("XLWH_WAREHOUSE", str(tmp_path / "warehouse"))
    named = [study] if command in ("pin", "fetch") else ["--study", study]
    code, _, err = xlwh(command, *named)
    assert code == 1
    assert err.count("Error") == 1
    assert f"XLWH_MIRROR is `{place}`, and there is no mirror: no mirror.json in it." in err
    assert offered.requests == []


def test_two_processes_do_not_write_into_one_part(study: Path, offered: HubServer, xlwh: Run) -> None:
    import fcntl

    offered.fault("GET /files/de.vec", status=404)
    xlwh("fetch", study)
    (part,) = (study.parent / "data/vectors").glob(".*.part")
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        code, _, err = xlwh("fetch", study)
    assert code == 1
    assert "vectors/wiki.de.vec: another process is fetching it" in err
    assert xlwh("fetch", study)[0] == 0


def test_two_processes_lock_their_files_in_one_lock(tmp_path: Path) -> None:
    one, other = Lock(tmp_path), Lock(tmp_path)
    one.add("a", Locked("http://x/a", 1, "0" * 64))
    other.add("b", Locked("http://x/b", 2, "1" * 64))
    found = Lock(tmp_path)
    assert (found.get("a"), found.get("b")) == (one.get("a"), other.get("b"))


def test_what_is_put_in_place_of_a_held_file_is_held(tmp_path: Path) -> None:
    """A process that waited for another one's file goes on with the one that replaced it."""
    file, begun = tmp_path / "f", threading.Event()

    def wait() -> None:
        begun.set()
        with download.held(file, waits=True) as stream:
            stream.write(b" and more")

    with download.held(file):
        waiting = threading.Thread(target=wait)
        waiting.start()
        begun.wait()
        time.sleep(0.1)
        write_whole(file, b"new")
    waiting.join()
    assert file.read_bytes() == b"new and more"


def test_a_full_disk_is_told_as_such(
    study: Path, offered: HubServer, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    code, _, err = xlwh("fetch", study)
    assert code == 1
    assert "wiki.de.vec: " in err
    assert "cannot be written: [Errno 28] No space left on device" in err
    assert "de.vec cannot be reached" not in err


def test_a_file_that_was_removed_from_a_mirror_is_written_again(
    study: Path, offered: HubServer, xlwh: Run, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    xlwh("fetch", study, "--to", mirror)
    (mirror / "data/vectors/wiki.de.vec").unlink()
    code, _, err = xlwh("fetch", study, "--to", mirror)
    assert (code, err) == (0, "")
    shutil.rmtree(study.parent / "data")
    assert xlwh("fetch", study, "--from", mirror)[0] == 0
    assert (study.parent / "data/vectors/wiki.de.vec").read_bytes() == VECTORS


@pytest.mark.parametrize("line", ["5", "{}", '{"bytes": 1}', "null"])
def test_an_index_of_a_mirror_with_a_wrong_line(
    line: str, study: Path, offered: HubServer, xlwh: Run, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "mirror.json").write_text(f'{{"version": 1, "files": {{"data/vectors/wiki.de.vec": {line}}}}}')
    code, _, err = xlwh("fetch", study, "--from", mirror)
    assert code == 1
    assert "mirror.json cannot be read: the line of data/vectors/wiki.de.vec is" in err
