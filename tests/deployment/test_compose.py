"""What the deployment files promise, as far as it can be read from them."""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from quire.content.extraction.process import ProcessExtractor
from quire.settings import LimitSettings, environment_names, load_settings
from tests.backends import postgres, qdrant

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
FILES = ("compose.yaml", "compose.cluster.yaml")
SECRET = re.compile(r"SECRET|PASSWORD|KEY")
MODEL_MEGABYTES = 512
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>:[-?][^}]*)?\}")

Service = dict[str, Any]


@dataclass(frozen=True)
class Deployment:
    """One compose file."""

    file: str
    text: str
    content: dict[str, Any]

    @property
    def services(self) -> dict[str, Service]:
        return dict(self.content["services"])

    @property
    def ours(self) -> dict[str, Service]:
        return {n: s for n, s in self.services.items() if s["image"].startswith("quire:")}

    @property
    def one_shots(self) -> set[str]:
        """Services that end: what waits for them waits for their success."""
        return {
            target
            for service in self.services.values()
            for target, how in service.get("depends_on", {}).items()
            if how["condition"] == "service_completed_successfully"
        }

    def named(self, prefix: str) -> dict[str, Service]:
        return {n: s for n, s in self.services.items() if s["image"].startswith(prefix)}

    def addresses(self, network: str) -> set[str]:
        """The names that answer in `network`."""
        found = set()
        for name, service in self.services.items():
            networks = service["networks"]
            if network in networks:
                found.add(name)
                if isinstance(networks, dict):
                    found.update((networks[network] or {}).get("aliases", []))
        return found


@pytest.fixture(params=FILES)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    text = (COMPOSE / request.param).read_text()
    return Deployment(request.param, text, yaml.safe_load(text))


@pytest.fixture
def cluster() -> Deployment:
    text = (COMPOSE / "compose.cluster.yaml").read_text()
    return Deployment("compose.cluster.yaml", text, yaml.safe_load(text))


def _example() -> dict[str, str]:
    lines = (COMPOSE / "env.example").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return dict(pairs)


def _filled_in() -> dict[str, str]:
    return {name: value or f"{name.lower()}-" + "0" * 32 for name, value in _example().items()}


def _interpolate(value: str) -> str:
    given = _filled_in()
    return VARIABLE.sub(lambda match: given[match["name"]], value)


def _dockerfile() -> list[tuple[str, str]]:
    text = (COMPOSE / "Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return [(word.upper(), " ".join(rest.split())) for word, rest in lines]


def _image_environment() -> dict[str, str]:
    words = " ".join(rest for word, rest in _dockerfile() if word == "ENV").split()
    return dict(word.split("=", 1) for word in words)


# Variables


def test_every_variable_is_a_setting(deployment: Deployment) -> None:
    known = environment_names()
    used = set(re.findall(r"\bQUIRE_[A-Z_]+", deployment.text))
    assert used, "no setting is used: the test is looking at the wrong file"
    assert used - known == set()


def test_the_images_variables_are_settings() -> None:
    assert {n for n in _image_environment() if n.startswith("QUIRE_")} <= environment_names()


def test_every_variable_is_in_the_example_and_none_there_is_idle() -> None:
    asked = {
        match["name"] for file in FILES for match in VARIABLE.finditer((COMPOSE / file).read_text())
    }
    assert asked == set(_example())


def test_no_secret_has_a_default(deployment: Deployment) -> None:
    asked = list(VARIABLE.finditer(deployment.text))
    lenient = {m["name"] for m in asked if not (m["rest"] or "").startswith(":?")}
    assert {name for name in lenient if SECRET.search(name)} == set()
    assert {name for name, value in _example().items() if SECRET.search(name) and value} == set()


def test_no_secret_is_written_out(deployment: Deployment) -> None:
    for service in deployment.services.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert VARIABLE.match(value), name


def test_the_settings_are_valid_together(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("migrate", "api", "worker"):
        environment = _image_environment() | deployment.ours[name]["environment"]
        with monkeypatch.context() as patch:
            for variable in environment_names() | {"QDRANT_HOST", "QDRANT_PORT"}:
                patch.delenv(variable, raising=False)
            for variable, value in environment.items():
                if variable.startswith("QUIRE_"):
                    patch.setenv(variable, _interpolate(value))
            settings = load_settings()
        settings.require_safe_host()
        assert settings.jobs.in_process is False
        assert settings.qdrant.url == "http://qdrant:6333"


def test_the_parts_find_each_other_and_share_their_keys(deployment: Deployment) -> None:
    ports = {"qdrant": 6333, "postgres": 5432, "store": 8333}
    for service in deployment.ours.values():
        environment = service["environment"]
        for variable in ("QUIRE_QDRANT_URL", "QUIRE_DATABASE_URL", "QUIRE_BLOB_ENDPOINT"):
            if variable not in environment:
                continue
            address = urlsplit(_interpolate(environment[variable]))
            assert address.hostname in deployment.addresses("storage")
            assert address.port == ports[address.hostname or ""]
        for node in deployment.named("qdrant/").values():
            key = node["environment"]["QDRANT__SERVICE__API_KEY"]
            assert key == environment["QUIRE_QDRANT_API_KEY"]
        password = deployment.services["postgres"]["environment"]["POSTGRES_PASSWORD"]
        assert password in environment["QUIRE_DATABASE_URL"]


# Services


def test_every_image_is_pinned(deployment: Deployment) -> None:
    for name, service in deployment.services.items():
        if name in deployment.ours:
            assert service["image"].startswith("quire:${RELEASE:?")
            continue
        tag = service["image"].rpartition(":")[2]
        assert re.match(r"v?\d+\.\d+", tag), f"{name}: {service['image']} names no exact version"
        assert "build" not in service


def test_every_lasting_service_has_a_health_check(deployment: Deployment) -> None:
    for name, service in deployment.services.items():
        check = service["healthcheck"]
        if name in deployment.one_shots:
            assert check == {"disable": True}
            assert service["restart"].startswith("on-failure")
        else:
            assert check["test"][0] == "CMD"
            assert {"interval", "timeout", "retries"} <= set(check)
            assert service["restart"] == "unless-stopped"


def test_every_service_is_bounded_and_confined(deployment: Deployment) -> None:
    for name, service in deployment.services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory"} == set(limits), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service


def test_ours_run_as_the_images_user_and_write_to_data_and_tmp_only(
    deployment: Deployment,
) -> None:
    user = next(rest for word, rest in _dockerfile() if word == "USER")
    assert set(deployment.ours) == {"migrate", "api", "worker"}
    for service in deployment.ours.values():
        assert service["user"] == user
        mounts = [_target(volume) for volume in service["volumes"]]
        mounts += [entry.split(":")[0] for entry in service["tmpfs"]]
        assert sorted(mounts) == ["/data", "/tmp"]


def test_volumes_are_declared_and_used(deployment: Deployment) -> None:
    sources = {
        volume.split(":")[0]
        for service in deployment.services.values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str)
    }
    bound = {source for source in sources if source.startswith((".", "/"))}
    assert sources - bound == set(deployment.content["volumes"])
    for source in bound:
        assert (COMPOSE / source).exists(), source


def test_what_is_waited_for_can_come(deployment: Deployment) -> None:
    for name, service in deployment.services.items():
        for target, how in service.get("depends_on", {}).items():
            assert target in deployment.services, f"{name} waits for {target}"
            lasting = target not in deployment.one_shots
            expected = "service_healthy" if lasting else "service_completed_successfully"
            assert how["condition"] == expected, f"{name} waits for {target}"
    for name in ("api", "worker"):
        waits = deployment.ours[name]["depends_on"]
        assert waits["migrate"]["condition"] == "service_completed_successfully"
        assert set(deployment.named("qdrant/")) <= set(waits)


def test_what_keeps_data_is_out_of_reach(deployment: Deployment) -> None:
    assert deployment.content["networks"]["storage"] == {"internal": True}
    published = {n: s["ports"] for n, s in deployment.services.items() if "ports" in s}
    assert len(published) == 1
    ((name, ports),) = published.items()
    assert name == ("proxy" if "proxy" in deployment.services else "api")
    assert re.fullmatch(r"\$\{PUBLISH:-127\.0\.0\.1:8087\}:\d+", *ports)
    assert _example()["PUBLISH"].startswith("127.0.0.1:")
    for image in ("qdrant/", "postgres:", "chrislusf/"):
        for service in deployment.named(image).values():
            assert list(service["networks"]) == ["storage"]


def test_the_commands_are_those_that_files_may_rely_on(deployment: Deployment) -> None:
    commands = {name: service["command"] for name, service in deployment.ours.items()}
    assert commands == {"migrate": ["db", "upgrade"], "api": ["serve"], "worker": ["worker"]}


def test_the_cluster_has_two_of_each_and_keeps_everything_twice(cluster: Deployment) -> None:
    nodes = cluster.named("qdrant/")
    assert len(nodes) == 3
    for name, node in nodes.items():
        assert node["environment"]["QDRANT__CLUSTER__ENABLED"] == "true"
        assert f"http://{name}:6335" in node["command"]
        assert node["networks"]["storage"]["aliases"] == ["qdrant"]
    assert sum("--bootstrap" not in node["command"] for node in nodes.values()) == 1
    for name in ("api", "worker"):
        assert cluster.ours[name]["deploy"]["replicas"] == 2
        assert cluster.ours[name]["environment"]["QUIRE_QDRANT_REPLICATION_FACTOR"] == "2"
        assert cluster.ours[name]["environment"]["QUIRE_BLOB_URL"] == "s3://quire"


def test_the_proxy_reaches_the_api(cluster: Deployment) -> None:
    configuration = (COMPOSE / "nginx.conf").read_text()
    proxy = cluster.services["proxy"]
    listens = re.findall(r"listen (\d+);", configuration)
    assert listens == [proxy["ports"][0].rpartition(":")[2]]
    assert re.findall(r"server (\S+) resolve", configuration) == ["api:8087"]
    assert set(proxy["networks"]) & set(cluster.ours["api"]["networks"])
    assert proxy["healthcheck"]["test"][-1].endswith(f":{listens[0]}/proxy/healthz")
    assert "location = /proxy/healthz" in configuration
    assert configuration.count("{") == configuration.count("}")


# Versions


def test_what_ships_is_what_the_tests_ran_against(deployment: Deployment) -> None:
    for service in deployment.named("qdrant/").values():
        assert service["image"] == f"qdrant/qdrant:v{qdrant.VERSION}-unprivileged"
    assert deployment.services["postgres"]["image"] == postgres.IMAGE
    arguments = deployment.services["postgres"]["environment"]["POSTGRES_INITDB_ARGS"]
    assert tuple(arguments.split()) == postgres.LOCALE


def test_the_pinned_executable_is_the_same_version() -> None:
    script = (ROOT / ".ci" / "qdrant").read_text()
    assert re.findall(r"^version=(.+)$", script, re.MULTILINE) == [qdrant.VERSION]


def test_the_client_is_within_one_minor_version_of_the_server() -> None:
    client, server = (
        tuple(int(part) for part in text.split(".")[:2])
        for text in (version("qdrant-client"), qdrant.VERSION)
    )
    assert client[0] == server[0]
    assert abs(client[1] - server[1]) <= 1


# The image


def test_the_image_is_built_in_stages_from_a_pinned_base() -> None:
    bases = [rest for word, rest in _dockerfile() if word == "FROM"]
    assert len(bases) >= 2
    assert all(re.match(r"python:3\.\d+\.\d+-slim", base) for base in bases)
    assert re.search(r" AS \w+$", bases[0], re.IGNORECASE)
    last = [word for word, _ in _dockerfile()][::-1]
    final = _dockerfile()[len(last) - last.index("FROM") :]
    copies = [rest for word, rest in final if word == "COPY"]
    assert copies
    assert all(copy.startswith("--from=") for copy in copies), "the final stage holds no sources"


def test_the_image_brings_the_weights_to_where_they_are_looked_for() -> None:
    environment = _image_environment()
    (getting,) = [rest for word, rest in _dockerfile() if word == "RUN" and "quire weights" in rest]
    place = environment["XDG_CACHE_HOME"]
    assert f"XDG_CACHE_HOME={place} " in getting
    copied = [rest.split()[-1] for word, rest in _dockerfile() if word == "COPY"]
    assert any(place.startswith(f"{target}/") for target in copied)
    # A volume over them would hide them.
    assert not place.startswith("/data")


def test_what_waits_in_temporary_files_waits_on_a_disk() -> None:
    assert _image_environment()["TMPDIR"] == "/data"


def test_a_worker_has_the_memory_that_it_may_give_to_documents(deployment: Deployment) -> None:
    worker = deployment.ours["worker"]
    readers = inspect.signature(ProcessExtractor).parameters["processes"].default
    most = LimitSettings().extraction_megabytes * readers
    gigabytes = re.fullmatch(r"(\d+)g", worker["deploy"]["resources"]["limits"]["memory"])
    assert gigabytes is not None
    assert int(gigabytes[1]) * 1024 > most + MODEL_MEGABYTES


def test_the_image_runs_as_an_unprivileged_number() -> None:
    users = [rest for word, rest in _dockerfile() if word == "USER"]
    assert len(users) == 1
    uid, gid = users[0].split(":")
    assert int(uid) >= 10000
    assert int(gid) >= 10000


def test_what_the_image_copies_is_there_and_reaches_the_builder() -> None:
    let_through = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source.removeprefix("./")
        for word, rest in _dockerfile()
        if word == "COPY" and not rest.startswith("--from=")
        for source in rest.split()[:-1]
    }
    assert copied == let_through
    assert all((ROOT / source).exists() for source in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {package.split("/")[0] for package in packages}
    needed |= {project["project"]["readme"], *project["project"]["license-files"]}
    assert needed <= copied


def test_the_image_starts_the_command_of_the_distribution() -> None:
    instructions = dict(_dockerfile())
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert yaml.safe_load(instructions["ENTRYPOINT"])[0] in scripts
    assert yaml.safe_load(instructions["CMD"]) == ["serve"]
    environment = _image_environment()
    assert instructions["EXPOSE"] == environment["QUIRE_PORT"] == "8087"
    assert environment["QUIRE_HOST"] == "0.0.0.0"
    assert "/healthz" in instructions["HEALTHCHECK"]


def test_the_images_health_check_is_python_that_compiles() -> None:
    check = dict(_dockerfile())["HEALTHCHECK"]
    command = yaml.safe_load(check[check.index("[") :])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")


def _target(volume: str | dict[str, str]) -> str:
    return volume["target"] if isinstance(volume, dict) else volume.split(":")[1]
