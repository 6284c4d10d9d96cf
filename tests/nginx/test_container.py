"""What is shipped to run a node and nginx in containers: well-formed, whole, and in agreement with what it starts."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from tests.nginx.front import ROOT, TEMPLATE, Nginx
from tests.transport.authority import Authority
from yzdht import Node
from yzdht.cli.node_settings import BY_NAME
from yzdht.http.server import HttpServer


if TYPE_CHECKING:
    from collections.abc import Mapping


DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
DOCKERFILE = DEPLOY / "Dockerfile"
PROGRAMS = Path(sys.executable).parent
GIVEN = {"YZ_DOMAIN": "example.org", "YZ_CERTIFICATES": "/certificates"}
VARIABLE = re.compile(r"\$\{(YZ_[A-Z_]+)(?::([-?])([^}]*))?\}")


def filled_in(given: Mapping[str, str]) -> Any:
    """The compose file with its variables as Compose fills them in."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        assert name in given or kind != "?", f"{name}: {rest}"
        return given.get(name, rest or "")

    lines = [line for line in COMPOSE.read_text().splitlines() if not line.startswith("#")]
    return YAML(typ="safe").load(VARIABLE.sub(value, "\n".join(lines)))


def judge(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def steps(kind: str) -> list[list[str]]:
    """The arguments of every instruction of that kind in the Dockerfile."""
    joined = DOCKERFILE.read_text().replace("\\\n", " ")
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line and not line.startswith("#")]
    return [shlex.split(rest) for word, rest in found if word == kind]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for step in steps("ENV") for pair in step)


# Compose


def test_the_compose_file_is_one(tmp_path: Path) -> None:
    assert judge(COMPOSE).returncode == 0, judge(COMPOSE).stdout
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("    restart:", "    restarts:"))
    assert judge(broken).returncode != 0


def test_every_variable_of_the_compose_file_is_explained() -> None:
    text = COMPOSE.read_text()
    explained = re.findall(r"^#   (YZ_[A-Z_]+)  ", text, re.MULTILINE)

    assert set(explained) == {match[1] for match in VARIABLE.finditer(text)}


@pytest.mark.parametrize("missing", sorted(GIVEN))
def test_without_what_must_be_given_nothing_starts(missing: str) -> None:
    with pytest.raises(AssertionError, match=missing):
        filled_in({name: value for name, value in GIVEN.items() if name != missing})


def test_what_the_compose_file_mounts_and_builds_exists() -> None:
    services = filled_in(GIVEN)["services"]
    mounted = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    files = [path for path in mounted if path.startswith(".")]

    assert files
    assert all((DEPLOY / path).is_file() for path in files)
    build = services["node1"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE


def test_the_node_takes_its_settings_and_trusts_nginx_alone() -> None:
    services = filled_in({**GIVEN, "YZ_BOOTSTRAP": "ws://192.0.2.1:8083 ws://192.0.2.2:8083"})["services"]
    given = services["node1"]["environment"]

    assert {f"YZ_NODE_{name.upper().replace('-', '_')}" for name in BY_NAME} >= given.keys()
    printed = subprocess.run(
        [PROGRAMS / "yz-node", "--print-config"],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f'trusted-proxy = ["{services["nginx"]["networks"]["yzdht"]["ipv4_address"]}"]' in printed
    assert 'public-address = ["wss://node1.example.org:443/ws"]' in printed
    assert 'bootstrap = ["ws://192.0.2.1:8083", "ws://192.0.2.2:8083"]' in printed


def test_nginx_gets_every_variable_of_its_template_and_finds_the_containers(tmp_path: Path) -> None:
    given = filled_in(GIVEN)["services"]["nginx"]["environment"]
    nginx = Nginx(tmp_path / "nginx", Authority(tmp_path), {})
    shutil.copy(DEPLOY / "nodes.map", nginx.folder / "nodes.map")

    assert set(re.findall(r"\$\{(YZ_[A-Z_]+)\}", TEMPLATE.read_text())) == given.keys() - {
        "NGINX_ENVSUBST_FILTER"
    }
    nginx.check()
    assert f":{environment()['YZ_NODE_PORT']};" in (DEPLOY / "nodes.map").read_text()


# The image


def test_everything_that_the_image_copies_exists_and_is_let_in() -> None:
    copied = [name for step in steps("COPY") if not step[0].startswith("--") for name in step[:-1]]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}

    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert set(copied) == let_in
    assert "*" in ignored


def test_the_image_runs_the_program_as_nobody_special() -> None:
    assert steps("USER") == [["8083:8083"]]
    assert steps("ENTRYPOINT") == [["[yz-node]"]]
    assert environment().keys() - {"PATH", "PYTHONUNBUFFERED"} <= {
        f"YZ_NODE_{name.upper().replace('-', '_')}" for name in BY_NAME
    }
    assert steps("VOLUME") == [[environment()["YZ_NODE_DATA"]]]
    assert steps("EXPOSE") == [[environment()["YZ_NODE_PORT"]]]


async def test_the_health_check_tells_a_node_that_lives_from_one_that_does_not() -> None:
    [check] = re.findall(r'CMD \["python", "-c", "(.*)"\]', DOCKERFILE.read_text())
    port = environment()["YZ_NODE_HTTP_PORT"]
    assert f":{port}/" in check

    def is_well(at: int) -> bool:
        command = [sys.executable, "-c", check.replace(port, str(at))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    async with Node(0, host="127.0.0.1", allow_private=True) as node, HttpServer(node) as page:
        at = urlsplit(page.url).port
        assert at is not None
        assert await asyncio.to_thread(is_well, at)
    assert not await asyncio.to_thread(is_well, at)
