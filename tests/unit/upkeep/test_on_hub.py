"""`xlwh plan` without a network: every model that is not fetched is told once, and the hub is asked once for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from xlwh.cli import main
from xlwh.sources import hub

STUDY = """name = "small"
languages = ["en"]

[datasets.nli]
reader = "text_classification"
path = "nli.tsv"
options = { text = 0, label = 1 }
"""
MODEL = '\n[models.{0}]\nhub = "org/{0}"\nrevision = "{1}"\ndatasets = ["nli"]\n'
MODELS = ("one", "other", "third")


def test_a_hub_that_does_not_answer_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY + "".join(MODEL.format(name, "a" * 40) for name in MODELS))
    (tmp_path / "nli.tsv").write_text("one\ta\nother\tb\n")
    asked: list[str] = []
    info = HfApi.repo_info

    def count(self: HfApi, repo_id: str, **named: object) -> object:
        asked.append(repo_id)
        return info(self, repo_id, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(HfApi, "repo_info", count)
    monkeypatch.setattr(hub, "pause", lambda seconds: None)
    for name, value in {
        "ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.delenv("XLWH_MIRROR", raising=False)
    assert main(["plan", "--no-probe", "--study", str(study), "--warehouse", str(tmp_path / "w")]) == 1
    told = capsys.readouterr().err
    assert set(asked) == {"org/one"}, "the others are not asked for"
    errors = [line for line in told.splitlines() if line.startswith("Error: ")]
    assert len(errors) == len(MODELS), told
    for name, error in zip(MODELS, errors, strict=True):
        assert (
            f"Model `{name}`: org/{name}@{'a' * 40} was not fetched into the hub cache {tmp_path / 'hub'}."
            in error
        )
        assert "The hub http://127.0.0.1:9 cannot be reached" in error
        assert error.endswith("Run, where there is a network: xlwh fetch")
