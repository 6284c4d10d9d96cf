"""`yz testnet`: a whole network on this machine, forked from one import, for developers."""

from __future__ import annotations

import functools
import math
import os
import shlex
import socket
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.manual import LOCAL, manual
from yzdht.cli.network_key import read_network_key
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import ExitCode, ListenFailed, UsageError, YzError


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.cli.children import Child, Children, Report
    from yzdht.cli.screen import Screen
    from yzdht.cli.testnode import Spec


NODES_MAX = 200
_HOST = "127.0.0.1"
_PORT_MAX = 65_535
_ENDING_S_MAX = 10.0
_STARTING_MAX = 4
"""More at once than cores are kept busy: those that join at the same time have to find each other afterwards."""
_KILL_AFTER_S_MAX = 2_000_000
"""23 days; poll(2) counts milliseconds in an int and waits for no longer."""
_SHOWN_AFTER_S = 1.0
_SHOWN_EVERY_S = 0.2


def _no_nan(_context: click.Context, _param: click.Parameter, seconds: float | None) -> float | None:
    """A range lets nan through, which is neither below nor above anything."""
    if seconds is not None and math.isnan(seconds):
        raise click.BadParameter("nan is no number of seconds")
    return seconds


@click.command(
    epilog=manual(
        "yz testnet 60",
        "yz testnet 3 --base-port 9000 --data testnet",
        "yz --json testnet 5 --kill-after 30",
        codes=LOCAL,
        said={ExitCode.FAILURE: "a port is taken, or a node failed"},
    )
)
@click.argument("count", metavar="N", type=click.IntRange(1, NODES_MAX))
@click.option(
    "--base-port", metavar="P", type=click.IntRange(0, _PORT_MAX), default=0,
    help="The nodes listen on P, P+1, …; HTTP on the N ports after these.  [default: free ports]",
)  # fmt: skip
@click.option(
    "--kill-after",
    metavar="S",
    type=click.FloatRange(0, _KILL_AFTER_S_MAX, min_open=True),
    callback=_no_nan,
    help="End all of it after S seconds.",
)
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Folder of their folders node-0, node-1, …  [default: in memory]",
)  # fmt: skip
@click.option("--no-http", is_flag=True, help="Leave the status pages out.")
@json_option
@click.pass_obj
def testnet(
    settings: Settings,
    *,
    count: int,
    base_port: int,
    kill_after: float | None,
    data: Path | None,
    no_http: bool,
) -> int:
    """Run a network of N nodes on this machine until Ctrl-C."""
    ends_at = None if kill_after is None else time.monotonic() + kill_after
    specs = _specs(settings, count, base_port, data, has_http=not no_http)
    return _Testnet(settings, specs, ends_at).run()


def _specs(
    settings: Settings, count: int, base_port: int, data: Path | None, *, has_http: bool
) -> list[Spec]:
    """How each of them runs; everything that can be wrong is, before the first one starts."""
    from yzdht.cli.testnode import Spec  # noqa: PLC0415 - loads the library
    from yzdht.crypto.naming import network_id  # noqa: PLC0415 - as above

    if not hasattr(os, "fork"):
        raise UsageError("this system cannot fork", hint="start nodes one by one with yz-node")
    if has_http:
        import_module("yzdht.http.server")  # before the fork, so that its pages are shared
    network_id(settings.network)
    key = read_network_key(settings.network_key_path)
    ports = range(base_port, base_port + count * (2 if has_http else 1))
    if base_port and ports[-1] > _PORT_MAX:
        raise UsageError(
            f"{len(ports)} ports from {base_port} on end above {_PORT_MAX}", hint="use a lower --base-port"
        )
    if base_port:
        _refuse_taken(ports)
    if data is not None:
        data = data.absolute()
    return [
        Spec(
            port=base_port and base_port + number,
            http_port=(base_port and base_port + count + number) if has_http else None,
            bootstrap=(),
            data=data / f"node-{number}" if data is not None else None,
            network=settings.network,
            network_key=key,
        )
        for number in range(count)
    ]


def _refuse_taken(ports: range) -> None:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError as error:
                raise ListenFailed(
                    f"port {port} cannot be used: {error.strerror}",
                    hint=f"ports {ports[0]} to {ports[-1]} are wanted; choose another --base-port, or leave it out",
                ) from error


class _Testnet:
    """The parent: starts the nodes a few at a time, tells when all are ready, and ends them.

    Args:
        settings: The options before the command.
        specs: The nodes.
        ends_at: Monotonic seconds; None for never.

    """

    def __init__(self, settings: Settings, specs: list[Spec], ends_at: float | None) -> None:
        self._settings = settings
        self._screen = settings.screen
        self._specs = specs
        self._ends_at = ends_at
        self._began_at = time.monotonic()
        self._ready: dict[int, dict[str, object]] = {}
        self._progress = _Progress(self._screen, self._began_at)

    def run(self) -> int:
        """Run it; the exit code."""
        from yzdht.cli.children import Children  # noqa: PLC0415 - not needed by --help
        from yzdht.cli.testnode import rehearse  # noqa: PLC0415 - loads the library

        if len(self._specs) > 1:
            rehearse(has_http=self._specs[0].http_port is not None)
        with Children() as children:
            try:
                is_complete = self._start(children)
                if is_complete:
                    self._tell_ready()
                    self._watch(children)
            finally:
                self._progress.clear()
                is_clean = self._end(children)
        if not is_complete and not children.signals:
            raise YzError(
                f"only {len(self._ready)} of {len(self._specs)} nodes were ready in time",
                hint="give it longer with --kill-after, or start fewer nodes",
            )
        self._screen_event({"event": "stopped"})
        return ExitCode.OK if is_complete and is_clean else ExitCode.INTERRUPTED

    # Starting

    def _start(self, children: Children) -> bool:
        """Start all of them; False if the end came first."""
        waiting = iter(enumerate(self._specs))
        starting = 0
        while len(self._ready) < len(self._specs):
            while starting < (_STARTING_MAX if self._ready else 1) and self._fork_next(children, waiting):
                starting += 1
            self._progress.show(f"{len(self._ready)} of {len(self._specs)} nodes are ready")
            for report in children.hear(self._next_look()):
                starting -= 1
                self._take_start(report)
            if children.signals or self._is_over():
                return False
        return True

    def _fork_next(self, children: Children, waiting: Iterator[tuple[int, Spec]]) -> bool:
        from dataclasses import replace  # noqa: PLC0415 - not needed by --help

        from yzdht.cli.testnode import live  # noqa: PLC0415 - loads the library

        for number, spec in waiting:
            children.fork(number, functools.partial(live, replace(spec, bootstrap=self._some_ready())))
            return True
        return False

    def _some_ready(self) -> tuple[str, ...]:
        """Addresses of the first node, of the last and of one between."""
        urls = [str(event["url"]) for event in self._ready.values()]
        return tuple(dict.fromkeys((urls[0], urls[len(urls) // 2], urls[-1]))) if urls else ()

    def _take_start(self, report: Report) -> None:
        child, event = report
        if event is not None and event["event"] == "ready":
            self._ready[child.number] = {"number": child.number, **event, "pid": child.pid}
            return
        if event is not None:
            raise YzError(f"node {child.number}: {event['error']}", hint=str(event["hint"]))
        raise YzError(f"node {child.number} (pid {child.pid}) {child.ending} before it was ready")

    def _next_look(self) -> float | None:
        """When to look up from waiting for reports."""
        wanted = [at for at in (self._ends_at, self._progress.next_at()) if at is not None]
        return min(wanted, default=None)

    def _is_over(self) -> bool:
        return self._ends_at is not None and time.monotonic() >= self._ends_at

    # Running

    def _tell_ready(self) -> None:
        nodes = [
            {key: value for key, value in self._ready[number].items() if key != "event"}
            for number in sorted(self._ready)
        ]
        seconds = round(time.monotonic() - self._began_at, 2)
        self._progress.clear()
        if self._screen.is_json:
            self._screen.object(
                {
                    "event": "ready",
                    "seconds": seconds,
                    "network": self._settings.network,
                    "pid": os.getpid(),
                    "nodes": nodes,
                }
            )
        else:
            self._screen.line("\n".join(_announcement(nodes, seconds, self._settings)))

    def _watch(self, children: Children) -> None:
        """Tell who dies, until a signal, the time or the last death."""
        while children.running and not children.signals and not self._is_over():
            for child, event in children.hear(self._ends_at):
                if event is None:
                    self._tell_ended(child)
        if not children.running:
            raise YzError("no node is left", hint="see above how they ended; --log-level info tells more")

    def _tell_ended(self, child: Child) -> None:
        self._screen.warn(f"node {child.number} (pid {child.pid}) {child.ending}")
        self._screen_event({"event": "ended", "number": child.number, "pid": child.pid, "code": child.code})

    def _screen_event(self, event: dict[str, object]) -> None:
        if self._screen.is_json:
            self._screen.object(event)

    # Ending

    def _end(self, children: Children) -> bool:
        """End all of them; False if some had to be killed, by a second signal or because they took too long."""
        children.end()
        give_up_at = time.monotonic() + _ENDING_S_MAX
        signals = children.signals
        while children.running and children.signals == signals and time.monotonic() < give_up_at:
            children.hear(give_up_at)
        is_clean = not children.running
        children.kill()
        return is_clean


class _Progress:
    """One line on a terminal, from the first second on; rich would start a thread, and nothing with threads forks."""

    def __init__(self, screen: Screen, began_at: float) -> None:
        self._next_at = began_at + _SHOWN_AFTER_S
        self._is_shown = False
        self._is_wanted = not screen.is_json and sys.stderr is not None and sys.stderr.isatty()

    def next_at(self) -> float | None:
        """Monotonic seconds at which there may be something to show."""
        return self._next_at if self._is_wanted else None

    def show(self, text: str) -> None:
        """Show the text if it is time to."""
        if self._is_wanted and time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _SHOWN_EVERY_S
            self._is_shown = True
            click.echo(f"\r{text} \x1b[K", nl=False, err=True)

    def clear(self) -> None:
        """Take it away."""
        if self._is_shown:
            self._is_shown = False
            click.echo("\r\x1b[K", nl=False, err=True)


def _announcement(nodes: list[dict[str, object]], seconds: float, settings: Settings) -> list[str]:
    """The lines for people."""
    first = str(nodes[0]["url"])
    options = [] if settings.network == "main" else ["--network", settings.network]
    if settings.network_key_path is not None:
        options += ["--network-key", str(settings.network_key_path)]
    through = shlex.join(["yz", "--node", first, *options])
    joining = shlex.join(["yz-node", "--bootstrap", first, *options])
    noun = "node is" if len(nodes) == 1 else "nodes are"
    return [
        *(
            f"node {n['number']:<3}  {n['url']:<22}  {n['http'] or '':<24}{'  ' if n['http'] else ''}pid {n['pid']}"
            for n in nodes
        ),
        "",
        f"{len(nodes)} {noun} ready after {seconds:.1f} s; store and read through any of them with",
        f"  {through} put NAME FILE",
        f"  {through} get NAME",
        "one more joins with",
        f"  {joining} --host {_HOST} --port 0 --allow-private",
        "Ctrl-C ends all of them",
    ]
