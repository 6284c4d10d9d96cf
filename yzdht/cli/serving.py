"""The life of the process `yz-node`: start, say ready, run until a signal, stop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from yzdht.cli.announcement import NO_ADDRESS, NO_ADDRESS_HINT, Place, announcement
from yzdht.cli.descriptors import can_open
from yzdht.cli.systemd import ServiceManager
from yzdht.errors import CertificateRefused, StoreError, UnsafeFile
from yzdht.ids import shorten
from yzdht.version import VERSION
from yzdht.wire.text import encode_node_id


if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType
    from typing import Self

    from yzdht.cli.screen import Screen
    from yzdht.http.server import HttpServer
    from yzdht.node import Node


log = logging.getLogger(__name__)

_FILES_LOOKED_AT_S = 2.0
_ENDING = (signal.SIGTERM, signal.SIGINT)


class Teller:
    """Tells programs, or people, what happens to a node; holds events back until it is ready.

    Args:
        screen: Where to write.

    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._held: list[dict[str, object]] | None = []
        self._is_heard = True

    def hear(self, event: dict[str, object]) -> None:
        """Something happened; `Node(on_event=…)`."""
        if event["event"] == "bootstrap" and not event["joined"]:
            log.warning(
                "no bootstrap address reached tried=%s retry_in_s=%s", event["tried"], event["retryInS"]
            )
        if event["event"] == "invite" and "retryInS" in event:
            log.warning("invite not redeemed yet retry_in_s=%s", event["retryInS"])
        if event["event"] == "leaving":
            self._screen.say(
                f"handing records over to other nodes, {event['endsInS']:.0f} s at most; a second signal ends it at once"
            )
        if self._held is not None:
            self._held.append(event)
        else:
            self._tell_program(event)

    def ready(self, view: dict[str, object], place: Place) -> None:
        """The node runs: tell that first, then what was held back.

        Args:
            view: The ready event.
            place: Where it runs.

        """
        if self._screen.is_json:
            self._tell_program(view)
        else:
            self._tell(lambda: self._screen.line("\n".join(announcement(view, place))))
        if not view["addresses"]:
            self._screen.warn(NO_ADDRESS, NO_ADDRESS_HINT)
            log.warning("no address to advertise host=%s port=%d", place.host, place.port)
        held, self._held = self._held or [], None
        for event in held:
            self._tell_program(event)

    def reload(self, node: Node) -> None:
        """Have a node read its certificate again, and tell what came of it; a bad one leaves the old one in use."""
        try:
            until = node.reload_certificate()
        except (CertificateRefused, UnsafeFile) as error:
            log.warning("certificate not reloaded reason=%s hint=%s", error, error.hint)
            node.telemetry.error(f"certificate not reloaded: {error}", node.now().wall, error.hint)
            self.hear({"event": "certificate", "reloaded": False, "refused": str(error)})
            return
        if until is not None:
            log.info("certificate reloaded until=%d", until)
            self.hear({"event": "certificate", "reloaded": True, "until": int(until)})

    def stopped(self, counters: dict[str, int]) -> None:
        """The node ended."""
        self._tell_program({"event": "stopped", "counters": counters})

    def _tell_program(self, event: dict[str, object]) -> None:
        if self._screen.is_json:
            self._tell(lambda: self._screen.object(event))

    def _tell(self, write: Callable[[], None]) -> None:
        """A node outlives whoever read its output."""
        if not self._is_heard:
            return
        try:
            write()
        except (BrokenPipeError, StoreError) as error:
            self._is_heard = False
            log.warning("stdout lost reason=%s", error)


class HttpPlace(NamedTuple):
    """Where the status page goes; None in its place for no page.

    Attributes:
        host: What it listens on.
        port: 0 picks a free one; None is the node's port + 1, or the next free one after it.

    """

    host: str = "127.0.0.1"
    port: int | None = None


async def serve(
    node: Node, teller: Teller, place: Place, more: dict[str, object], http: HttpPlace | None = None
) -> None:
    """Run a node until SIGTERM, SIGINT or the end of its terminal; a second signal ends the process at once.

    One that serves TLS outlives its terminal: SIGHUP, which tells of that too, has it read its certificate again.

    Args:
        node: Not started yet; its events go to `teller`.
        teller: Tells what happens.
        place: Where it runs; the port is filled in.
        more: Further fields of the ready event.
        http: Where its status page goes.

    Raises:
        ListenFailed: The port is taken, or that of the page.
        DataLocked: Another node holds the data folder.
        StoreError: The data folder cannot be used.
        WrongPassphrase: The node's key does not open.
        InviteRefused: The issuer of its invite says no.

    """
    has_certificate = node.config.tls.certificate is not None
    on_hangup = functools.partial(teller.reload, node) if has_certificate else None
    with _ended_by_signal(on_hangup) as ended, ServiceManager() as manager:
        async with StatusPage(http) as page:
            await page.take_port(place.port)
            if not await start_or_end(node, ended):
                return
            try:
                await page.show(node)
                _leave_what_stays_uncollected()
                tell_where(node, place.host, page.url)
                manager.ready(lambda: f"port {node.port}, knows {len(node.engine.table)} nodes")
                log.info("listening node=%s host=%s port=%d", shorten(node.node_id), place.host, node.port)
                event = _ready_event(node, place, {**more, "http": page.url})
                teller.ready(event, place._replace(port=node.port))
                async with _files_watched(node):
                    await ended.wait()
            finally:
                gc.unfreeze()
                manager.stopping()
                await node.stop()
        log.info("stopped node=%s", shorten(node.node_id))
        teller.stopped(node.counters.as_dict())


def _leave_what_stays_uncollected() -> None:
    """Spare the collector the modules and what a node keeps as long as it runs: measured, half of its longest pauses."""
    gc.collect()
    gc.freeze()


class StatusPage:
    """The HTTP server beside a node, if there is to be one. Its port is taken before others are told of the node.

    It outlasts the node, so that whoever polls `/readyz` sees that the node is leaving.

    Args:
        place: Where; None for none.

    """

    def __init__(self, place: HttpPlace | None) -> None:
        self._place = place
        self._sockets: list[socket.socket] = []
        self._server: HttpServer | None = None

    @property
    def url(self) -> str | None:
        """Where it is, once it is shown; None if there is none."""
        return None if self._server is None else self._server.url

    async def take_port(self, node_port: int) -> None:
        """Take the port, if the node's is known already.

        Raises:
            ListenFailed: It is taken.

        """
        if self._place is not None and node_port:
            from yzdht.http.server import bind_http  # noqa: PLC0415 - not loaded with --no-http

            self._sockets = await bind_http(*self._place, node_port)

    async def show(self, node: Node) -> None:
        """Serve the pages of a running node.

        Raises:
            ListenFailed: The port is taken.

        """
        if self._place is not None:
            from yzdht.http.server import HttpServer  # noqa: PLC0415 - as above

            self._server = await HttpServer(node, *self._place, self._sockets).__aenter__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            await self._server.close()
        for sock in self._sockets:
            sock.close()


def tell_where(node: Node, host: str, http: str | None) -> None:
    """Write `run.json` into the node's data folder, for `yz status` and its like.

    Args:
        node: It listens.
        host: What it listens on.
        http: Its status page; None for none.

    """
    run = {
        "pid": os.getpid(),
        "port": node.port,
        "host": host,
        "http": http,
        "nodeId": encode_node_id(node.node_id),
        "version": VERSION,
        "startedAt": int((node.started or node.now()).wall),
    }
    try:
        node.tell_where(msgspec.json.encode(run) + b"\n")
    except StoreError as error:
        log.warning("run.json not written reason=%s", error)  # a node without it is only harder to find


async def start_or_end(node: Node, ended: asyncio.Event) -> bool:
    """Start a node; False if a signal came first."""
    starting = asyncio.ensure_future(node.start())
    waiting = asyncio.ensure_future(ended.wait())
    try:
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not starting.done():
            starting.cancel()  # it undoes what it began
            await asyncio.wait((starting,))
    if starting.cancelled():
        return False
    starting.result()
    return True


@contextlib.asynccontextmanager
async def _files_watched(node: Node) -> AsyncIterator[None]:
    """Tell it when connections are refused because no more files can be opened; nothing else says so."""
    watching = asyncio.ensure_future(_watch_files(node))
    try:
        yield
    finally:
        watching.cancel()


async def _watch_files(node: Node) -> None:
    was_able = True
    while True:
        await asyncio.sleep(_FILES_LOOKED_AT_S)
        is_able = can_open()
        if not is_able:
            hint = "let it have more: LimitNOFILE= in the unit, or ulimit -n; or lower --max-sessions"
            node.telemetry.error("no more files or connections can be opened", node.now().wall, hint)
            if was_able:
                log.warning("no more files or connections can be opened hint=%s", hint)
        elif not was_able:
            log.warning("files and connections can be opened again")
        was_able = is_able


def _ready_event(node: Node, place: Place, more: dict[str, object]) -> dict[str, object]:
    return {
        "event": "ready",
        **node.json_view(),
        "bootstrap": {"tried": node.bootstrap_tried, "joined": node.bootstrap_joined},
        "port": node.port,
        "host": place.host,
        "network": place.network,
        "data": place.data,
        "pid": os.getpid(),
        **more,
    }


@contextlib.contextmanager
def _ended_by_signal(on_hangup: Callable[[], None] | None = None) -> Iterator[asyncio.Event]:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def end(number: signal.Signals) -> None:
        log.info("stopping signal=%s", number.name)
        _leave_signals_to_the_system(loop)
        ended.set()

    is_terminal_heard = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # nohup has it ignored
    for number in (*_ENDING, signal.SIGHUP) if is_terminal_heard else _ENDING:
        loop.add_signal_handler(number, end, number)
    if on_hangup is not None:
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    try:
        yield ended
    finally:
        if not ended.is_set():
            _leave_signals_to_the_system(loop)


def _leave_signals_to_the_system(loop: asyncio.AbstractEventLoop) -> None:
    """From now on a signal ends the process at once, whatever the loop is busy with.

    The end of a terminal does not: the shell and the system both tell of it.
    """
    for number in (*_ENDING, signal.SIGHUP):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN if number is signal.SIGHUP else signal.SIG_DFL)
