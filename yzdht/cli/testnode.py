"""The life of one node of `yz testnet`, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yzdht.cli.node import new_runner
from yzdht.cli.screen import error_view
from yzdht.cli.serving import HttpPlace, StatusPage, start_or_end, tell_where
from yzdht.errors import ExitCode, YzError
from yzdht.node import Node
from yzdht.store.keyfile import Identity


with contextlib.suppress(ImportError):
    import uvloop  # noqa: F401 - loaded before the fork, so that its pages are shared


if TYPE_CHECKING:
    from pathlib import Path

    from yzdht.cli.children import Line


HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Spec:
    """How one of them runs.

    Attributes:
        port: 0 for a free one.
        http_port: The same for HTTP; None for no HTTP.
        bootstrap: Addresses to join through.
        data: Its folder; None keeps everything in memory.
        network: Name of the network.
        network_key: 32 bytes, for a private network.

    """

    port: int
    http_port: int | None
    bootstrap: tuple[str, ...]
    data: Path | None
    network: str
    network_key: bytes | None


def rehearse(*, has_http: bool) -> None:
    """Have two nodes meet, store and read in this process, before it forks, and end again.

    What Python and OpenSSL make on first use is then made once and shared: measured, 2 MB for each child. No loop and
    no thread is left: the loop is asyncio's own, names are not resolved, and records stay in memory.
    """
    with contextlib.suppress(YzError):  # the nodes themselves will say what is wrong
        asyncio.run(_rehearse(has_http=has_http))


async def _rehearse(*, has_http: bool) -> None:
    async with (
        StatusPage(HttpPlace(HOST, 0) if has_http else None) as page,
        Node(0, host=HOST, allow_private=True) as first,
    ):
        await page.show(first)
        url = f"ws://{HOST}:{first.port}"
        async with Node(
            0, host=HOST, allow_private=True, bootstrap=[url], identity=Identity.generate()
        ) as second:
            await second.store("name", b"value")
            await second.get("name")


def live(spec: Spec, line: Line) -> int:
    """Run one node until it is told to end; its exit code.

    SIGTERM ends this node alone: it hands over what it keeps. When all of them end there is nobody to hand over to.
    """
    with new_runner() as runner:
        return runner.run(_Life(spec, line).run())


class _Life:
    def __init__(self, spec: Spec, line: Line) -> None:
        self._spec = spec
        self._line = line
        self._joined = asyncio.Event()
        self._ended = asyncio.Event()
        self._all_end = False

    async def run(self) -> int:
        self._listen_for_the_end()
        spec = self._spec
        place = None if spec.http_port is None else HttpPlace(HOST, spec.http_port)
        try:
            async with StatusPage(place) as page:
                await self._serve(self._node(), page)
        except YzError as error:
            self._line.report({"event": "failed", **error_view(error)})
            return error.exit_code
        return ExitCode.OK

    def _node(self) -> Node:
        spec = self._spec
        return Node(
            spec.port,
            host=HOST,
            bootstrap=spec.bootstrap,
            data=spec.data,
            network=spec.network,
            network_key=spec.network_key,
            allow_private=True,
            on_event=self._hear,
        )

    async def _serve(self, node: Node, page: StatusPage) -> None:
        await page.take_port(self._spec.port)
        if not await start_or_end(node, self._ended):
            return
        try:
            await page.show(node)
            tell_where(node, HOST, page.url)
            if self._spec.bootstrap:
                await self._first(self._joined, self._ended)
            if not self._ended.is_set():
                self._line.report(_ready_report(node, page.url))
            await self._ended.wait()
        finally:
            await self._stop(node)

    async def _stop(self, node: Node) -> None:
        stopping = [asyncio.ensure_future(node.stop())]
        if self._all_end:
            await asyncio.sleep(0)
            stopping.append(asyncio.ensure_future(node.stop()))  # the second call puts an end to handing over
        await asyncio.gather(*stopping)

    async def _first(self, *events: asyncio.Event) -> None:
        """Wait for the first of them."""
        waiting = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    def _hear(self, event: dict[str, object]) -> None:
        if event["event"] == "joined":
            self._joined.set()

    def _listen_for_the_end(self) -> None:
        loop = asyncio.get_running_loop()

        def end_with_all() -> None:
            loop.remove_reader(self._line.lifeline)
            self._all_end = True
            self._ended.set()

        loop.add_reader(self._line.lifeline, end_with_all)
        loop.add_signal_handler(signal.SIGTERM, self._ended.set)


def _ready_report(node: Node, http: str | None) -> dict[str, object]:
    return {
        "event": "ready",
        "nodeId": node.node_id.hex(),
        "url": f"ws://{HOST}:{node.port}",
        "http": http,
        "port": node.port,
    }
