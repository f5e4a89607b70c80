"""Models of the hub that a run would download: what they are, asked once of a hub that answers."""

from __future__ import annotations

from pathlib import Path

from xlwh.errors import ModelError, UnreachableError
from xlwh.place import hub_cache
from xlwh.sources import hub

LOOK = hub.Purpose("", "Run, where there is a network: xlwh fetch")


class OnHub:
    """What the hub says of models that are not in its cache; where it cannot be reached, it is not asked again."""

    def __init__(self) -> None:
        self._described: dict[tuple[str, str], hub.Described] = {}
        self._unreachable: UnreachableError | None = None

    def describe(self, key: str, repository: str, revision: str) -> hub.Described:
        """A commit of the model `key`; ModelError where the hub cannot be reached, SourceError where it has no such commit."""
        at = repository, revision
        if self._unreachable is None and at not in self._described:
            try:
                self._described[at] = hub.describe("model", repository, revision, LOOK)
            except UnreachableError as error:
                self._unreachable = error
        if at not in self._described:
            raise ModelError(
                f"Model `{key}`: {repository}@{revision} was not fetched into the hub cache {hub_cache()}. {self._unreachable}"
            )
        return self._described[at]

    def configuration(self, key: str, repository: str, revision: str) -> Path:
        """The config.json alone of a commit, fetched where it is not in the cache; errors as of `describe`."""
        from huggingface_hub import hf_hub_download

        self.describe(key, repository, revision)
        found = hub.patiently(
            lambda: hf_hub_download(repository, "config.json", revision=revision, cache_dir=hub_cache()),
            "model",
            repository,
            revision,
            LOOK,
        )
        return Path(found)
