"""A peer that asks and never reads costs a node a bounded amount of memory, and then its connection."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import psutil
import pytest
from websockets.client import ClientProtocol
from websockets.protocol import State as WebSocketState
from websockets.uri import parse_uri

from tests.process.fleet import PATIENCE_S, POLL_S, Fleet, NodeProcess, Spec, through
from yzdht import Identity
from yzdht.crypto.handshake import Credentials, Initiator
from yzdht.crypto.naming import network_id
from yzdht.limits import DEFERRED_REQUESTS_BYTES_MAX, LINK_UNSENT_BYTES_MAX, VALUE_BYTES_MAX
from yzdht.rpc.session import Session, State
from yzdht.sessions import SystemClock
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import FindValue, Method


if TYPE_CHECKING:
    from tests.process.conftest import Note
    from yzdht.ids import Target


pytestmark = pytest.mark.process

RECEIVE_BYTES = 65_536
EACH_BYTES = LINK_UNSENT_BYTES_MAX + DEFERRED_REQUESTS_BYTES_MAX


class SlowReader:
    """A client that completes the handshake, and from then on only sends."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self.sock.settimeout(0)
        self.sent = 0
        self.is_cut_off = False
        self._clock = SystemClock()
        signer = Identity.generate().signer
        credentials = Credentials(signer, network_id("main"), Caps.ALWAYS | Caps.CLIENT)
        self._session = Session(Initiator(credentials, None), self._clock.now())

    async def open(self, node: NodeProcess) -> None:
        loop = asyncio.get_running_loop()
        self._websocket = ClientProtocol(parse_uri(node.websocket_url))
        await loop.sock_connect(self.sock, ("127.0.0.1", node.port))
        self._websocket.send_request(self._websocket.connect())
        async with asyncio.timeout(PATIENCE_S):
            await self._flush()
            while self._websocket.state is WebSocketState.CONNECTING:
                await self._read_some()
            while self._session.state is not State.OPEN:
                for message in self._session.take_outgoing():
                    self._websocket.send_binary(message)
                await self._flush()
                await self._read_some()

    async def _read_some(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self.sock, 4_096)
        assert data, "the node hung up"
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if getattr(event, "opcode", None) is not None:
                self._session.receive(bytes(event.data), self._clock.now())  # type: ignore[union-attr] # a frame

    async def _flush(self) -> None:
        for piece in self._websocket.data_to_send():
            await asyncio.get_running_loop().sock_sendall(self.sock, piece)

    async def ask_for_ever(self, target: Target) -> None:
        """Ask for a large record again and again, until the node takes no more of it and then hangs up."""
        try:
            while True:
                self.sent += 1
                body = FindValue(target, (), 1 << 16)
                self._session.call(self.sent, Method.FIND_VALUE, body, 60, self._clock.now())
                self._session.cancel(
                    self.sent
                )  # the answer is of no interest, and the next request may leave
                for message in self._session.take_outgoing():
                    self._websocket.send_binary(message)
                await self._flush()
                await asyncio.sleep(0)  # what fits in the kernel's buffer is sent without a pause
        except ConnectionError:
            self.is_cut_off = True

    def close(self) -> None:
        self.sock.close()


async def peak_rss(node: NodeProcess, work: asyncio.Future[list[None]]) -> int:
    """The largest resident memory of a node until some work is done."""
    peak = 0
    while not work.done():
        peak = max(peak, node.rss_bytes())
        await asyncio.sleep(POLL_S)
    return peak


async def prove_bounded(fleet: Fleet, note: Note, *, readers: int, rounds: int) -> None:
    node = await fleet.start(Spec("node"))
    identity = Identity.generate()
    async with through(node, identity) as dht:
        await dht.store("large", bytes(VALUE_BYTES_MAX))
        target = dht.records._own_slot("large").target
        await dht.get("large")
    before = node.rss_bytes()
    for number in range(rounds):
        slow = [SlowReader() for _ in range(readers)]
        try:
            for reader in slow:
                await reader.open(node)
            work = asyncio.gather(*(reader.ask_for_ever(target) for reader in slow))
            async with asyncio.timeout(PATIENCE_S):
                watching = asyncio.create_task(peak_rss(node, work))
                async with through(node, identity) as dht:
                    while not work.done():  # everybody else is served meanwhile
                        assert len((await dht.get("large")).data) == VALUE_BYTES_MAX
                        await asyncio.sleep(POLL_S)
                grown = await watching - before
                await work
            assert all(reader.is_cut_off for reader in slow)
        finally:
            for reader in slow:
                reader.close()
        bound = readers * EACH_BYTES
        sent = sum(reader.sent for reader in slow)
        note(
            f"round {number}: {readers} slow readers asked {sent} times for {VALUE_BYTES_MAX:,} B; memory grew by "
            f"{grown / 2**20:.1f} MiB, bound {bound / 2**20:.0f} MiB; all were cut off"
        )
        assert grown < bound
    open_now = [c for c in psutil.Process(node.pid).net_connections("tcp") if c.status == "ESTABLISHED"]
    assert open_now == []
    await node.stop()


async def test_slow_readers_cost_bounded_memory_and_are_cut_off(fleet: Fleet, note: Note) -> None:
    await prove_bounded(fleet, note, readers=4, rounds=1)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
async def test_slow_readers_cost_bounded_memory_again_and_again(fleet: Fleet, note: Note) -> None:
    await prove_bounded(fleet, note, readers=32, rounds=5)
