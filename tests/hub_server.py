"""A hub on this machine: the Hugging Face hub's API as far as its client `huggingface_hub` asks it, with faults to order.

    with HubServer() as hub:
        commit = hub.add_model("org/tiny", folder)                  # a folder, or {path: bytes or text}
        hub.add_dataset("org/nli", {"README.md": card, "en/test.parquet": data}, commit="ab" * 20)
        hub.add_file("/vectors/wiki.de.align.vec", b"...")          # any other address: hub.url + path
        hub.fault(r"resolve/.*/model.safetensors", cut_after=1000)  # the next answer breaks off
        subprocess.run(..., env=os.environ | hub.environment(cache))

A repository has commits (git-like ids, or those given), branches and pull requests. Large and binary files are stored as
by LFS: a redirect to a second server on another port, as the hub sends them to its storage, which must not see a token.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_loopback"
"""The token that opens gated and private repositories."""
LFS = (".safetensors", ".parquet", ".bin", ".arrow", ".zip", ".gz", ".h5", ".onnx", ".spm", ".model")
LARGE = 1 << 20
Files = Path | Mapping[str, bytes | str]


@dataclass
class Blob:
    """One file of a commit."""

    data: bytes
    is_lfs: bool
    served: bytes | None = None
    """What is sent in place of the data, with the digests of the data: a file that was damaged on its way."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        """Git's id: of the file, or of the pointer that stands for it."""
        data = self.data
        if self.is_lfs:
            data = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(data)}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repository:
    """One repository with all that is asked of it."""

    kind: str
    id: str
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """Further fields of its description, such as pipeline_tag."""
    gated: str | bool = False
    private: bool = False
    disabled: bool = False

    def commit_of(self, revision: str) -> str | None:
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass
class Fault:
    """What is done to the next requests whose method and path match."""

    pattern: re.Pattern[str]
    times: int
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    then: Callable[[], object] | None = None


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]


class HubServer:
    """The hub as a context manager; every method may be called while it runs."""

    def __init__(self, page_size: int = 1000) -> None:
        self.page_size = page_size
        self.requests: list[Asked] = []
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.moved: dict[tuple[str, str], str] = {}
        self._files: dict[str, bytes] = {}
        self._unmeasured: set[str] = set()
        self._faults: list[Fault] = []
        self._storage: dict[str, bytes] = {}
        self._lock = threading.RLock()
        self._servers = [_Server(("127.0.0.1", 0), handler) for handler in (_Hub, _Storage)]
        for server in self._servers:
            server.hub = self
        self.url = f"http://127.0.0.1:{self._servers[0].server_port}"
        self.storage_url = f"http://127.0.0.1:{self._servers[1].server_port}"

    def __enter__(self) -> HubServer:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def environment(self, cache: Path | str) -> dict[str, str]:
        """Variables under which a process asks this hub, with its cache and token below `cache`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_CACHE": str(Path(cache) / "hub"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": "",
        }

    def use(self, monkeypatch: Any, cache: Path, token: str | None = None) -> None:
        """Let this process ask this hub: what the client has read from its environment is put in its place."""
        from huggingface_hub import constants
        from huggingface_hub.utils import close_session

        for name, value in self.environment(cache).items():
            monkeypatch.setenv(name, value)
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setattr(constants, "ENDPOINT", self.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", self.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        close_session()

    def add_model(self, id: str, files: Files, commit: str | None = None, **facts: Any) -> str:
        """A model, or a new commit on its main branch; its commit. `facts`: gated, private, pipeline_tag, tags, ..."""
        return self._add("model", id, files, commit, "main", facts)

    def add_dataset(self, id: str, files: Files, commit: str | None = None, **facts: Any) -> str:
        """A dataset, as `add_model`."""
        return self._add("dataset", id, files, commit, "main", facts)

    def add_ref(self, kind: str, id: str, ref: str, files: Files, commit: str | None = None) -> str:
        """Another branch, or a pull request (`refs/pr/3`); its commit."""
        return self._add(kind, id, files, commit, ref, {})

    def add_file(self, path: str, data: bytes, says_length: bool = True) -> str:
        """A file outside of all repositories; its address. Without a length it ends where the line is closed."""
        self._files[path] = data
        (self._unmeasured.discard if says_length else self._unmeasured.add)(path)
        return self.url + path

    def rename(self, kind: str, old: str, new: str) -> None:
        """Give a repository another name; the old one leads there."""
        with self._lock:
            repository = self.repositories.pop((kind, old))
            repository.id = new
            self.repositories[kind, new] = repository
            self.moved[kind, old] = new

    def remove(self, kind: str, id: str) -> None:
        with self._lock:
            del self.repositories[kind, id]

    def remove_file(self, path: str) -> None:
        del self._files[path]

    def damage(self, kind: str, id: str, path: str, served: bytes) -> None:
        """Send other bytes in place of a file, under the digest of the true ones."""
        for files in self.repositories[kind, id].commits.values():
            if path in files:
                files[path].served = served
                self._storage[files[path].sha256] = served

    def fault(
        self,
        pattern: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
        cut_after: int | None = None,
        then: Callable[[], object] | None = None,
        times: int = 1,
    ) -> None:
        """The next `times` requests whose "METHOD path" matches are answered with an error, break off after so many
        bytes of their body, or are followed by `then` (a new commit between two calls, say).
        """
        told = dict(headers or {}) | ({} if retry_after is None else {"Retry-After": str(retry_after)})
        self._faults.append(Fault(re.compile(pattern), times, status, told, cut_after, then))

    def _add(
        self, kind: str, id: str, files: Files, commit: str | None, ref: str, facts: dict[str, Any]
    ) -> str:
        content = _content(files)
        blobs = {
            path: Blob(data, path.endswith(LFS) or len(data) > LARGE)
            for path, data in sorted(content.items())
        }
        with self._lock:
            repository = self.repositories.setdefault((kind, id), Repository(kind, id))
            if commit is None:
                text = json.dumps([id, ref, len(repository.commits), [(p, b.oid) for p, b in blobs.items()]])
                commit = hashlib.sha1(text.encode()).hexdigest()
            repository.commits[commit] = blobs
            repository.refs[ref] = commit
            for name in ("gated", "private", "disabled"):
                if name in facts:
                    setattr(repository, name, facts.pop(name))
            repository.facts |= facts
            self._storage |= {blob.sha256: blob.data for blob in blobs.values() if blob.is_lfs}
        return commit

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.pattern.search(f"{method} {path}"):
                    fault.times -= 1
                    return fault
        return None


def _content(files: Files) -> dict[str, bytes]:
    if isinstance(files, Path):
        return {p.relative_to(files).as_posix(): p.read_bytes() for p in files.rglob("*") if p.is_file()}
    return {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: HubServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away in the middle of an answer are none of our errors."""


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        hub = self.server.hub
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Asked(self.command, self.path, headers))
        self.fault = hub.take_fault(self.command, self.path)
        if self.fault is not None and self.fault.status is not None:
            self.send(self.fault.status, b"ordered", dict(self.fault.headers))
        else:
            self.answer()
        if self.fault is not None and self.fault.then is not None:
            self.fault.then()

    @abstractmethod
    def answer(self) -> None:
        """Send what a request that no fault was ordered for gets."""

    def send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        cut = None if self.fault is None or self.command == "HEAD" else self.fault.cut_after
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if unquote(self.path) in self.server.hub._unmeasured:
            self.send_header("Connection", "close")
            self.close_connection = True
        elif "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None and cut < len(body):
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)

    def send_json(self, content: object, headers: Mapping[str, str] | None = None) -> None:
        told = {"Content-Type": "application/json", **(headers or {})}
        self.send(200, json.dumps(content).encode(), told)

    def refuse(self, status: int, code: str, message: str = "") -> None:
        told = {"X-Error-Code": code} if code else {}
        self.send(
            status,
            json.dumps({"error": message or code}).encode(),
            told | {"X-Error-Message": message or code},
        )

    def send_file(self, data: bytes, headers: Mapping[str, str]) -> None:
        """A file, or the part of it that a Range asks for; If-Range is heeded."""
        told = {"Accept-Ranges": "bytes", **headers}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        condition = self.headers.get("If-Range")
        if asked is None or (condition is not None and condition != told.get("ETag")):
            self.send(200, data, told)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        if start >= len(data):
            self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        self.send(206, data[start : end + 1], told | {"Content-Range": f"bytes {start}-{end}/{len(data)}"})


class _Storage(_Answering):
    """Where large files lie: by their digest, for whoever has the address."""

    def answer(self) -> None:
        if "Authorization" in self.headers:
            self.refuse(400, "TokenLeaked", "a token was sent to the storage")
            return
        data = self.server.hub._storage.get(self.path.removeprefix("/lfs/"))
        if data is None:
            self.refuse(404, "", "no such object")
        else:
            self.send_file(data, {"ETag": f'"{self.path.rsplit("/", 1)[-1]}"'})


_API = re.compile(
    r"/api/(?P<kind>model|dataset)s/(?P<id>[^/]+(?:/[^/]+)?)(?P<rest>/(?:revision|tree|paths-info|refs|discussions)\b.*)?$"
)
_RESOLVE = re.compile(
    r"/(?P<kind>datasets/)?(?P<id>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$"
)


class _Hub(_Answering):
    """The API and the files of repositories."""

    def answer(self) -> None:
        address = urlsplit(self.path)
        # The client writes the slashes of a ref as %2F.
        if match := _API.match(address.path):
            self._api(match["kind"], match["id"], match["rest"] or "", parse_qs(address.query))
        elif match := _RESOLVE.match(address.path):
            kind = "dataset" if match["kind"] else "model"
            self._resolve(kind, match["id"], unquote(match["revision"]), unquote(match["path"]))
        elif (data := self.server.hub._files.get(unquote(address.path))) is not None:
            self.send_file(data, {"ETag": f'"{hashlib.md5(data).hexdigest()}"'})
        else:
            self.refuse(404, "", "Not Found")

    def _repository(self, kind: str, id: str, opens: bool) -> Repository | None:
        """A repository that may be seen, and its files read where `opens`; else the answer is sent."""
        hub = self.server.hub
        if (new := hub.moved.get((kind, id))) is not None:
            self.send(307, b"", {"Location": self.path.replace(id, new, 1)})
            return None
        repository = hub.repositories.get((kind, id))
        has_token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not has_token):
            self.refuse(404 if has_token else 401, "RepoNotFound", "Repository not found")
            return None
        if repository.disabled:
            self.refuse(403, "", "Access to this resource is disabled.")
            return None
        if repository.gated and opens and not has_token:
            message = f"Access to {kind} {id} is restricted. You must be authenticated to access it."
            self.refuse(401, "GatedRepo", message)
            return None
        return repository

    def _api(self, kind: str, id: str, rest: str, query: dict[str, list[str]]) -> None:
        repository = self._repository(kind, id, opens=False)
        if repository is None:
            return
        name, _, of = rest.lstrip("/").partition("/")
        if name == "refs":
            self._refs(repository, "include_prs" in query)
            return
        if name == "discussions":
            self.send_json({"count": 0, "start": 0, "discussions": []})
            return
        revision, _, folder = of.partition("/")
        commit = repository.commit_of(unquote(revision) or "main")
        if commit is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")
        elif name == "tree":
            self._tree(repository, commit, unquote(folder), query)
        elif name == "paths-info":
            paths = parse_qs(self.body.decode()).get("paths", [])
            self.send_json(
                [_entry(path, blob) for path, blob in repository.commits[commit].items() if path in paths]
            )
        else:
            self._info(repository, commit, "blobs" in query)

    def _info(self, repository: Repository, commit: str, with_blobs: bool) -> None:
        files = repository.commits[commit]
        card = _card(files)
        siblings: list[dict[str, Any]] = []
        for path, blob in files.items():
            told: dict[str, Any] = {"rfilename": path}
            if with_blobs:
                told |= {"size": len(blob.data), "blobId": blob.oid}
                if blob.is_lfs:
                    told["lfs"] = {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": 134}
            siblings.append(told)
        tags = [f"license:{card['license']}"] if isinstance(card.get("license"), str) else []
        facts = {"tags": tags, **({"pipeline_tag": card["pipeline_tag"]} if "pipeline_tag" in card else {})}
        self.send_json(
            facts
            | {"id": repository.id, "sha": commit, "private": repository.private, "gated": repository.gated}
            | {
                "disabled": repository.disabled,
                "cardData": card,
                "siblings": siblings,
                "downloads": 0,
                "likes": 0,
            }
            | repository.facts
        )

    def _tree(self, repository: Repository, commit: str, folder: str, query: dict[str, list[str]]) -> None:
        files = repository.commits[commit]
        folders = sorted({str(p) for path in files for p in Path(path).parents if str(p) != "."})
        entries: list[dict[str, Any]] = [
            {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0, "path": name}
            for name in folders
        ]
        entries += [_entry(path, blob) for path, blob in files.items()]
        prefix = f"{folder}/" if folder else ""
        entries = [entry for entry in entries if entry["path"].startswith(prefix)]
        if query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
            entries = [entry for entry in entries if "/" not in entry["path"].removeprefix(prefix)]
        start = int(query.get("cursor", ["0"])[0])
        end = start + self.server.hub.page_size
        told = {}
        if end < len(entries):
            rest = "&".join(f"{k}={v[0]}" for k, v in query.items() if k != "cursor")
            path = urlsplit(self.path).path
            told["Link"] = f'<{self.server.hub.url}{path}?{rest}&cursor={end}>; rel="next"'
        self.send_json(entries[start:end], told)

    def _refs(self, repository: Repository, with_pull_requests: bool) -> None:
        def listed(refs: Mapping[str, str], prefix: str) -> list[dict[str, str]]:
            return [{"name": n, "ref": prefix + n, "targetCommit": commit} for n, commit in refs.items()]

        pull = {ref: commit for ref, commit in repository.refs.items() if ref.startswith("refs/pr/")}
        convert = {ref: commit for ref, commit in repository.refs.items() if ref.startswith("refs/convert/")}
        branches = {ref: c for ref, c in repository.refs.items() if ref not in pull and ref not in convert}
        told: dict[str, Any] = {
            "branches": listed(branches, "refs/heads/"),
            "tags": [],
            "converts": [
                {"name": ref.rsplit("/", 1)[-1], "ref": ref, "targetCommit": commit}
                for ref, commit in convert.items()
            ],
        }
        if with_pull_requests:
            told["pullRequests"] = [
                {"name": ref.rsplit("/", 1)[-1], "ref": ref, "targetCommit": commit}
                for ref, commit in pull.items()
            ]
        self.send_json(told)

    def _resolve(self, kind: str, id: str, revision: str, path: str) -> None:
        repository = self._repository(kind, id, opens=True)
        if repository is None:
            return
        commit = repository.commit_of(revision)
        if commit is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        blob = repository.commits[commit].get(path)
        if blob is None:
            self.send(404, b"Entry not found", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        told = {"X-Repo-Commit": commit}
        if blob.is_lfs:
            told |= {"X-Linked-Size": str(len(blob.data)), "X-Linked-ETag": f'"{blob.sha256}"'}
            place = f"{self.server.hub.storage_url}/lfs/{blob.sha256}"
            self.send(302, b"", told | {"Location": place, "ETag": f'"{blob.oid}"'})
        else:
            self.send_file(
                blob.data if blob.served is None else blob.served, told | {"ETag": f'"{blob.oid}"'}
            )


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
    if blob.is_lfs:
        told["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 134}
    return told


def _card(files: Mapping[str, Blob]) -> dict[str, Any]:
    """The front matter of README.md."""
    readme = files.get("README.md")
    match = None if readme is None else re.match(r"---\r?\n(.*?)\r?\n---", readme.data.decode(), re.DOTALL)
    content = yaml.safe_load(match[1]) if match else {}
    return content if isinstance(content, dict) else {}
