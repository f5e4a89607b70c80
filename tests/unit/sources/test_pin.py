"""`xlwh pin`: commits are written, told, and nothing else of the study changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hub_server import HubServer
from huggingface_hub import constants

from xlwh.errors import StudyError
from xlwh.study import load

from .conftest import DATASET, MODEL, STUDY, Run


def test_commits_are_written_and_the_file_is_else_the_same(
    offered: HubServer, study_file: Path, xlwh: Run
) -> None:
    with pytest.raises(StudyError, match=r"`models.bert`: a hub model needs `revision`.*Run: xlwh pin"):
        load(study_file)
    code, out, err = xlwh("pin", study_file)
    assert (code, err) == (0, "")
    study = load(study_file)
    model, dataset = study.models["bert"].revision, study.datasets["nli"].revision
    assert model == offered.repositories["model", "org/bert"].refs["main"]
    assert dataset == offered.repositories["dataset", "org/nli"].refs["main"]
    assert (
        study_file.read_text().replace(f'revision = "{model}"\n', "").replace(f'revision = "{dataset}"\n', "")
        == STUDY
    )
    for told in (
        "apache-2.0",
        "fill-mask",
        "cc-by-nc-4.0",
        "text-classification",
        f"main stands at {model[:12]}",
    ):
        assert told in out
    before = study_file.read_text()
    assert xlwh("pin", study_file.parent)[0] == 0
    assert study_file.read_text() == before


def test_a_link_to_a_study_and_its_mode_stay(
    offered: HubServer, study_file: Path, xlwh: Run, tmp_path: Path
) -> None:
    study_file.chmod(0o600)
    link = tmp_path / "link.toml"
    link.symlink_to(study_file)
    assert xlwh("pin", link)[0] == 0
    assert link.is_symlink()
    assert study_file.stat().st_mode & 0o777 == 0o600
    assert load(study_file).models["bert"].revision


def test_the_size_is_that_of_what_is_loaded(offered: HubServer, study_file: Path) -> None:
    from xlwh.sources.pin import pin

    model, dataset = pin(study_file)
    assert model.size == sum(
        len(MODEL[name]) for name in ("config.json", "model.safetensors", "tokenizer.json")
    )
    assert dataset.size == sum(
        len(DATASET[f"{each}/validation-00000-of-00001.parquet"]) for each in ("en", "de")
    )


def test_a_pinned_commit_stays_unless_it_is_renewed(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    xlwh("pin", study_file)
    before = study_file.read_text()
    new = offered.add_model("org/bert", MODEL | {"config.json": '{"model_type": "bert", "x": 1}'})
    assert "same" in xlwh("pin", study_file)[1]
    assert study_file.read_text() == before
    code, out, _ = xlwh("pin", study_file, "--renew", "--dry-run")
    assert (code, study_file.read_text()) == (0, before)
    assert new[:12] in out
    assert "1 of 2 would be" in out
    xlwh("pin", study_file, "--renew")
    assert load(study_file).models["bert"].revision == new


@pytest.mark.parametrize("ref", ["v1", "refs/pr/4"])
def test_a_branch_or_pull_request_becomes_its_commit(
    ref: str, offered: HubServer, study_file: Path, xlwh: Run
) -> None:
    commit = offered.add_ref("model", "org/bert", ref, MODEL)
    named = f'hub = "org/bert" # as it is called today\nrevision = "{ref}" # this one'
    study_file.write_text(STUDY.replace('hub = "org/bert" # as it is called today', named))
    with pytest.raises(
        StudyError, match=r"`models.bert.revision`: no 40-character commit. `xlwh pin` writes"
    ):
        load(study_file)
    assert xlwh("pin", study_file)[0] == 0
    assert f'revision = "{commit}" # this one' in study_file.read_text()


def test_without_safetensors_the_conversion_is_named_and_not_taken(
    offered: HubServer, study_file: Path, xlwh: Run
) -> None:
    bare = {name: data for name, data in MODEL.items() if name != "model.safetensors"}
    offered.add_model("org/bert", bare)
    offered.add_ref("model", "org/bert", "refs/pr/1", bare)
    commit = offered.add_ref("model", "org/bert", "refs/pr/3", MODEL)
    code, _, err = xlwh("pin", study_file)
    assert code == 1
    assert "no safetensors" in err
    assert f"refs/pr/3 (commit {commit})" in err
    assert "refs/pr/1" not in err
    assert "revision" not in tomllib.loads(study_file.read_text())["models"]["bert"]
    assert load_revision(study_file, "datasets", "nli") is not None
    offered.repositories["model", "org/bert"].refs.pop("refs/pr/3")
    assert "none of its pull requests adds them" in xlwh("pin", study_file)[2]


def load_revision(file: Path, section: str, key: str) -> str | None:
    revision: str | None = tomllib.loads(file.read_text())[section][key].get("revision")
    return revision


@pytest.mark.parametrize(
    ("said", "changed", "told"),
    [
        ('config = "{language}"', 'config = "none"', "Change `datasets.nli.options.config` or `datasets.nli.options.names`."),
        ('config = "{language}", ', 'config = "de", splits = { dev = "gone" }, ', "Change `datasets.nli.split` or `datasets.nli.options.splits`."),
        ('config = "{language}"', 'file = "none-*.csv"', "Change `datasets.nli.options.file`."),
    ],
)  # fmt: skip
def test_an_error_of_a_dataset_says_what_to_change_and_then_to_pin(
    said: str, changed: str, told: str, offered: HubServer, study_file: Path, xlwh: Run
) -> None:
    study_file.write_text(
        STUDY.replace(said, changed).replace('reader = "hub"', 'reader = "hub"\nsplit = "dev"')
    )
    code, _, err = xlwh("pin", study_file)
    assert code == 1
    assert f"{told} Its commit was not written; then run: xlwh pin\n" in err
    assert load_revision(study_file, "datasets", "nli") is None
    assert load_revision(study_file, "models", "bert") is not None
    assert "Run: xlwh pin" in xlwh("fetch", study_file)[2]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "nowhere", None], ids=["refused", "no address", "another page"]
)
def test_a_hub_that_is_none_is_one_error_and_asked_once(
    address: str | None, offered: HubServer, study_file: Path, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    if address is None:
        offered.fault("GET /api/", status=200, times=99)
    else:
        monkeypatch.setattr(constants, "ENDPOINT", address)
    text = study_file.read_bytes()
    for arguments in (("--dry-run",), ()):
        code, _, err = xlwh("pin", study_file, *arguments)
        errors = [line for line in err.splitlines() if line.startswith("Error:")]
        assert (code, len(errors)) == (1, 1), err
        assert errors[0].startswith("Error: models.bert, datasets.nli: ")
        assert "run xlwh pin again where there is a network" in errors[0]
        assert "HF_ENDPOINT names another one" in errors[0]
    assert study_file.read_bytes() == text


def test_offline_pin_speaks_of_commits(
    offered: HubServer, study_file: Path, xlwh: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, _, err = xlwh("pin", study_file)
    assert code == 1
    assert err == (
        "Error: models.bert, datasets.nli: Commits are asked of the hub, and HF_HUB_OFFLINE is set. Unset it, or write them "
        "as `revision` by hand.\n"
    )


def test_an_id_that_is_none_is_one_error_for_all_that_name_it(
    offered: HubServer, study_file: Path, xlwh: Run
) -> None:
    again = STUDY[STUDY.index("[datasets.nli]") :].replace("datasets.nli", "datasets.nli-more")
    study_file.write_text(STUDY + again)
    offered.remove("dataset", "org/nli")
    code, out, err = xlwh("pin", study_file)
    errors = [line for line in err.splitlines() if line.startswith("Error:")]
    assert (code, len(errors)) == (1, 1), err
    assert errors[0].startswith(
        "Error: datasets.nli, datasets.nli-more: dataset org/nli at main: there is no such repository"
    )
    assert "Correct `hub` in the study" in errors[0]
    assert "Wrote 1 of 3" in out


def test_what_is_wrong_with_one_id_leaves_the_others_alone(
    offered: HubServer, study_file: Path, xlwh: Run
) -> None:
    offered.rename("model", "org/bert", "new/bert")
    offered.remove("dataset", "org/nli")
    code, out, err = xlwh("pin", study_file)
    assert code == 1
    assert 'models.bert: is called new/bert today: write `hub = "new/bert"`' in out
    assert "datasets.nli: dataset org/nli at main: there is no such repository" in err
    assert load_revision(study_file, "models", "bert")


def test_gated_and_private(hub: HubServer, study_file: Path, xlwh: Run) -> None:
    hub.add_model("org/bert", MODEL, gated="manual")
    hub.add_dataset("org/nli", DATASET, private=True)
    code, out, err = xlwh("pin", study_file)
    assert code == 1
    assert "manual" in out
    assert "models.bert: is gated: accept its terms" in out
    assert "or it is private" in err
    assert load_revision(study_file, "models", "bert")


def test_a_busy_hub_is_asked_again(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    offered.fault("GET /api/models", status=429, retry_after=3)
    offered.fault("GET /api/models", status=503, times=2)
    assert xlwh("pin", study_file)[0] == 0
    offered.fault("GET /api/models", status=500, times=20)
    code, _, err = xlwh("pin", study_file)
    assert code == 1
    assert "the hub answers 500" in err


def test_other_faults_of_a_study_are_told_first(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    study_file.write_text(STUDY.replace('datasets = ["nli"]', 'datasets = ["nil"]'))
    code, _, err = xlwh("pin", study_file)
    assert code == 1
    assert "models.bert.datasets" in err
    assert not offered.requests


FORMS = [
    '[models]\nm = { hub = "org/bert", datasets = ["nli"] } # inline\n[datasets]\n',
    '[models]\nm.hub = "org/bert" # dotted\nm.datasets = ["nli"]\n',
    'models.m.hub = "org/bert"\nmodels.m.datasets = ["nli"]\n',
    '[models.m]\nhub = "org/bert"',
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_form_of_a_table_is_written_into(
    form: str, line_end: str, offered: HubServer, tmp_path: Path, xlwh: Run
) -> None:
    head = 'name = "t" # comment\nlanguages = ["en"]\n'
    nli = f'datasets.nli = {{ reader = "hub", hub = "org/nli", revision = "{"a" * 40}", options = {{ text = "premise" }} }}\n'
    offered.add_dataset("org/nli", DATASET, commit="a" * 40)
    text = (head + nli + form.replace("[datasets]\n", "")).replace("\n", line_end)
    file = tmp_path / "study.toml"
    file.write_bytes(text.encode())
    code, _, err = xlwh("pin", file)
    assert (code, err) == (0, "")
    written = file.read_bytes().decode()
    commit = offered.repositories["model", "org/bert"].refs["main"]
    assert tomllib.loads(written)["models"]["m"]["revision"] == commit
    assert "# comment" in written
    # The commit aside, the lines are the same ones.
    lost = set(text.split(line_end)) - set(written.split(line_end))
    assert all("# inline" in line for line in lost)
    assert written.count("\n") == written.count(line_end)


def test_a_byte_order_mark_stays(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    study_file.write_bytes(b"\xef\xbb\xbf" + STUDY.encode())
    code, _, err = xlwh("pin", study_file)
    assert (code, err) == (0, "")
    assert study_file.read_bytes().startswith(b"\xef\xbb\xbf# A study")
    assert load(study_file).models["bert"].revision == offered.repositories["model", "org/bert"].refs["main"]


def test_a_file_that_cannot_be_written_into_is_told(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    study_file.write_bytes(STUDY.replace("\n", "\r").encode())
    before = study_file.read_bytes()
    code, _, err = xlwh("pin", study_file)
    commit = offered.repositories["model", "org/bert"].refs["main"]
    assert code == 1
    assert f'Write them by hand: models.bert: revision = "{commit}"' in err
    assert study_file.read_bytes() == before


@pytest.mark.parametrize("said", ["5", '["main"]', "true"])
def test_a_revision_of_another_type(said: str, offered: HubServer, study_file: Path, xlwh: Run) -> None:
    study_file.write_text(STUDY.replace('hub = "org/bert"', f'hub = "org/bert"\nrevision = {said}'))
    code, _, err = xlwh("pin", study_file)
    assert code == 1
    assert "line 8: `models.bert.revision`: Input should be a valid string" in err
    assert not offered.requests


def test_a_commit_in_capitals_is_that_commit(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    old = offered.repositories["model", "org/bert"].refs["main"]
    offered.add_model("org/bert", MODEL | {"config.json": "{}"})
    study_file.write_text(STUDY.replace('hub = "org/bert"', f'hub = "org/bert"\nrevision = "{old.upper()}"'))
    code, _, err = xlwh("pin", study_file)
    assert (code, err) == (0, "")
    assert load(study_file).models["bert"].revision == old


def test_the_beginning_of_a_commit_is_no_revision(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    study_file.write_text(STUDY.replace('hub = "org/bert"', 'hub = "org/bert"\nrevision = "abc1234"'))
    code, _, err = xlwh("pin", study_file)
    assert code == 1
    assert "has no such revision. Write a branch" in err
    assert "all 40 digits of a commit" in err
    assert "--renew" not in err


def test_one_repository_gets_one_commit(offered: HubServer, study_file: Path, xlwh: Run) -> None:
    """Also where somebody pushes to it meanwhile."""
    again = '\n[models.other]\nhub = "org/bert"\ndatasets = ["nli"]\n'
    study_file.write_text(STUDY + again)
    offered.fault(
        "GET /api/models/org/bert", then=lambda: offered.add_model("org/bert", MODEL | {"config.json": "{}"})
    )
    assert xlwh("pin", study_file)[0] == 0
    models = load(study_file).models
    assert models["bert"].revision == models["other"].revision
