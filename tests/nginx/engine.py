"""A Docker engine of the test's own, without a registry of images: what images begin with is made here, of Debian's packages.

Everything of it lies in one folder and is gone with the test. It has a socket of its own, changes no rule of the firewall, and
makes no network but those that a compose file asks for. `make engine` installs what it takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.nginx.front import ROOT


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


COMPOSE: Final = ROOT / "deploy" / "compose.yaml"
PYTHON: Final = "python:3.11-slim"
NGINX: Final = "nginx:stable"
PATIENCE_S: Final = 300.0
POLL_S: Final = 0.1
_PLUGINS: Final = Path(sys.prefix) / "engine" / "usr" / "libexec" / "docker" / "cli-plugins"
_HINT: Final = "is missing, or this is not root: make engine"
_PACKAGES: Final = "ca-certificates,curl,gettext-base,nginx-light,python3,python3-venv,python3-pip"
_SUITE: Final = "bookworm"
"""The Debian whose Python is 3.11."""

# As the image of nginx does it: templates become configuration when it starts, with the variables that a pattern chooses.
_ENTRYPOINT: Final = r"""#!/bin/sh
set -eu
names=$(env | cut -d= -f1 | grep -E "$NGINX_ENVSUBST_FILTER" | sed 's/.*/${&}/' | tr '\n' ' ')
for template in /etc/nginx/templates/*.template; do
  envsubst "$names" < "$template" > "/etc/nginx/conf.d/$(basename "$template" .template)"
done
exec "$@"
"""
_NGINX_DOCKERFILE: Final = """FROM base
COPY entrypoint /entrypoint
RUN rm -f /etc/nginx/conf.d/* && echo 'server { listen 80; server_name localhost; }' > /etc/nginx/conf.d/default.conf
EXPOSE 80
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/entrypoint"]
CMD ["nginx", "-g", "daemon off;"]
"""


class Engine:
    """One engine.

    Args:
        folder: Its own; its path must be short enough for a socket.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        settings = folder / "settings"
        settings.mkdir(parents=True)
        (settings / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(_PLUGINS)]}))
        self._socket = f"unix://{folder}/socket"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "YZ_"))},
            "DOCKER_HOST": self._socket,
            "DOCKER_CONFIG": str(settings),
            "DOCKER_BUILDKIT": "1",
        }

    # What it is told

    def run(
        self, *command: str, given: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `docker`; whatever it comes to."""
        environment = {**self._environment, **(given or {})}
        return subprocess.run(
            ["docker", *command],
            env=environment,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=1_200,
        )

    @contextlib.contextmanager
    def begun(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """`docker` with some command, which ends with the block."""
        begun = subprocess.Popen(["docker", *command], env=self._environment, stdout=subprocess.PIPE)
        with begun:
            try:
                yield begun
            finally:
                begun.kill()

    def docker(self, *command: str, given: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
        """Run `docker`, which must go well; its stdout."""
        done = self.run(*command, given=given, stdin=stdin)
        assert done.returncode == 0, (
            f"docker {' '.join(command)}\n{done.stdout.decode()}{done.stderr.decode()}"
        )
        return done.stdout.decode()

    def inspect(self, container: str) -> dict[str, Any]:
        """What it knows of a container."""
        [found] = json.loads(self.docker("inspect", container))
        assert isinstance(found, dict)
        return found

    # Life

    def start(self) -> None:
        """Start it, and wait until it answers."""
        missing = [name for name in ("docker", "dockerd", "debootstrap") if self._where(name) is None]
        assert not missing, f"{missing} {_HINT}"
        assert os.geteuid() == 0, f"docker {_HINT}"
        folder = self.folder
        command = [
            "setpriv", "--pdeathsig", "TERM", str(self._where("dockerd")),
            "--host", self._socket, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid",
            "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, "the engine answers")
        for plugin in ("compose", "buildx"):
            assert self.run(plugin, "version").returncode == 0, f"docker {plugin} {_HINT}"

    def _where(self, name: str) -> str | None:
        return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-4_000:]
        return self.run("info").returncode == 0

    def stop(self) -> None:
        """End it with all its containers, and remove what it had."""
        process, self._process = self._process, None
        if process is not None:
            left = self.run("ps", "--all", "--quiet").stdout.decode().split()
            self.run("rm", "--force", "--volumes", *left)
            self.run("network", "prune", "--force")  # or the kernel would keep its bridges
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            finally:
                process.kill()
        shutil.rmtree(self.folder)

    def make_bases(self) -> None:
        """Make the images that deploy/ begins with, under the names that they have in a registry."""
        mirror = _mirror()
        root = self.folder / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root), mirror]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2_000:]
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        tar = subprocess.Popen(
            ["tar", "-C", str(root), "--exclude=./var/cache/apt/archives/*.deb", "-c", "."],
            stdout=subprocess.PIPE,
        )
        with tar:
            subprocess.run(
                ["docker", "import", "-", PYTHON],
                env=self._environment,
                stdin=tar.stdout,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        shutil.rmtree(root)
        self._make_nginx()

    def _make_nginx(self) -> None:
        context = self.folder / "nginx"
        context.mkdir()
        (context / "entrypoint").write_text(_ENTRYPOINT)
        (context / "entrypoint").chmod(0o755)
        (context / "Dockerfile").write_text(_NGINX_DOCKERFILE.replace("FROM base", f"FROM {PYTHON}"))
        self.docker("build", "--network", "host", "--tag", NGINX, str(context))


class Deployed:
    """What deploy/compose.yaml starts.

    Args:
        engine: Where.
        given: Values of its variables.
        more: A further compose file, for what is so only in a test.

    """

    def __init__(self, engine: Engine, given: Mapping[str, str], more: Path) -> None:
        self.engine = engine
        self.given = dict(given)
        self._files = ("--file", str(COMPOSE), "--file", str(more))

    def compose(self, *command: str, stdin: bytes = b"") -> str:
        """Run `docker compose`, which must go well; its stdout."""
        return self.engine.docker("compose", *self._files, *command, given=self.given, stdin=stdin)

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        return self.compose("ps", "--all", "--quiet", service).strip()

    def state(self, service: str) -> dict[str, Any]:
        """`State` of a service's container."""
        state: dict[str, Any] = self.engine.inspect(self.container(service))["State"]
        return state

    def within(self, service: str, *command: str) -> str:
        """Run a command in a container, as whoever its program runs as; its stdout."""
        return self.compose("exec", "-T", service, *command)

    def until_healthy(self, service: str = "node1", health: str = "healthy") -> None:
        """Wait for what the health check comes to."""
        wait_until(lambda: self.state(service)["Health"]["Status"] == health, f"{service} is {health}")


@contextlib.contextmanager
def own_engine(folder: Path) -> Iterator[Engine]:
    """An engine with the images that deploy/ begins with."""
    engine = Engine(folder)
    try:
        engine.start()
        engine.make_bases()
        yield engine
    finally:
        engine.stop()


def wait_until(holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Ask again and again until it holds."""
    give_up_at = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up_at, f"not within {patience_s} s: {what}"
        time.sleep(POLL_S)


def pip_settings(ca_inside: str) -> str:
    """A pip.conf that finds packages as pip of this machine does, with its authority at another place."""
    listed = _said([sys.executable, "-m", "pip", "config", "list"])
    lines = ["[global]"]
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        if key.rpartition(".")[2] in {"index-url", "extra-index-url"} and "file:" not in value:
            lines.append(f"{key.rpartition('.')[2]} = {value.strip(chr(39))}")
    return "\n".join([*lines, f"cert = {ca_inside}", ""])


def trusted_bundle() -> Path:
    """The authorities that pip of this machine trusts."""
    named = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    return Path(named or "/etc/ssl/certs/ca-certificates.crt")


def _mirror() -> str:
    """The mirror of Debian that this machine uses."""
    shown = ["--format", "$(ORIGIN) $(COMPONENT) $(CODENAME) $(SITE)", "Created-By: Packages"]
    for line in _said(["apt-get", "indextargets", *shown]).splitlines():
        origin, component, suite, site = line.split()
        if origin == "Debian" and component == "main" and "-" not in suite:
            return site
    raise AssertionError("this machine has no mirror of Debian")


def _said(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
