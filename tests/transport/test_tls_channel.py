"""TLS between two connections in memory, and what of the ssl module that relies on."""

from __future__ import annotations

import asyncio
import ctypes
import ssl
from typing import TYPE_CHECKING

import pytest

from yzdht.limits import TLS_SILENT_BYTES_MAX, TLS_SILENT_PART, TLS_SLICE_BYTES
from yzdht.transport.tls_channel import TlsChannel, TlsDial, hardened


if TYPE_CHECKING:
    from tests.transport.authority import Authority


class Wire(asyncio.Transport):
    """The connection below: what is written to it is kept until somebody takes it to the other end."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self.is_eof_written = self.is_closed = self.is_aborted = self.is_paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def write_eof(self) -> None:
        self.is_eof_written = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_reading(self) -> bool:
        return not self.is_paused

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.written))

    def take(self) -> bytes:
        taken, self.written = b"".join(self.written), []
        return taken


class Inside(asyncio.Protocol):
    """Whoever is inside TLS."""

    def __init__(self) -> None:
        self.heard = b""
        self.told: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def eof_received(self) -> None:
        self.told.append("eof")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)


class Pair:
    """Both ends, their handshake done."""

    def __init__(self, authority: Authority, host: str = "localhost") -> None:
        self.wires = Wire(), Wire()
        self.client = TlsChannel(self.wires[0], authority.trust, is_server=False, host=host)
        self.server = TlsChannel(self.wires[1], authority.served())
        self.inside = Inside(), Inside()

    def open(self) -> Pair:
        self.client.feed(b"")
        while not (self.client.is_open and self.server.is_open):
            self.server.feed(self.wires[0].take())
            self.client.feed(self.wires[1].take())
        self.client.set_protocol(self.inside[0])
        self.server.set_protocol(self.inside[1])
        assert self.wires[1].protocol is self.server
        return self

    def to_server(self) -> None:
        self.server.data_received(self.wires[0].take())

    def to_client(self) -> None:
        self.client.data_received(self.wires[1].take())


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return Pair(authority).open()


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 300_000])
def test_what_is_written_at_one_end_comes_out_at_the_other(pair: Pair, size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    pair.client.write(data)
    pair.server.write(memoryview(data)[::-1].tobytes())
    pair.to_server()
    pair.to_client()

    assert pair.inside[1].heard == data
    assert pair.inside[0].heard == data[::-1]


def test_it_may_come_byte_by_byte(pair: Pair) -> None:
    pair.client.write(b"hello")
    for byte in pair.wires[0].take():
        pair.server.data_received(bytes([byte]))

    assert pair.inside[1].heard == b"hello"


def test_what_was_written_within_one_call_leaves_in_one_write(pair: Pair) -> None:
    pair.wires[0].take()
    pair.client.write(bytes(40_000))

    assert len(pair.wires[0].written) == 1
    assert pair.client.get_write_buffer_size() > 40_000


def test_nothing_waits_in_the_channel_itself(pair: Pair) -> None:
    pair.client.write(bytes(100_000))
    pair.to_server()

    assert (pair.client._outgoing.pending, pair.server._incoming.pending) == (0, 0)


class Filled:
    """A BIO, and the most that was ever in it."""

    def __init__(self, bio: ssl.MemoryBIO) -> None:
        self._bio = bio
        self.most = 0

    def write(self, data: memoryview) -> int:
        written = self._bio.write(data)
        self.most = max(self.most, self._bio.pending)
        return written

    def read(self) -> bytes:
        self.most = max(self.most, self._bio.pending)
        return self._bio.read()

    @property
    def pending(self) -> int:
        return self._bio.pending


def test_little_goes_into_a_bio_at_a_time_since_it_keeps_the_room(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, came = Filled(pair.client._outgoing), Filled(pair.server._incoming)
    monkeypatch.setattr(pair.client, "_outgoing", sealed)
    monkeypatch.setattr(pair.server, "_incoming", came)
    pair.client.write(bytes(300_000))
    pair.to_server()

    assert pair.inside[1].heard == bytes(300_000)
    assert TLS_SLICE_BYTES < sealed.most < TLS_SLICE_BYTES + 100
    assert came.most == TLS_SLICE_BYTES


# What holds nothing


KEY_UPDATE_BYTES = 27


def key_update(pair: Pair) -> bytes:
    """One KeyUpdate of the client, which Python has no call for (SSL_KEY_UPDATE_NOT_REQUESTED is 0)."""
    tls = pair.client.get_extra_info("ssl_object")
    library = ctypes.CDLL(ssl._ssl.__file__)  # type: ignore[attr-defined]
    pointer = ctypes.c_void_p.from_address(
        id(tls._sslobj) + 24
    )  # behind the head of the object and its socket
    assert library.SSL_key_update(pointer, 0) == 1
    tls.do_handshake()
    return pair.client._outgoing.read()


def test_key_updates_without_end_end_the_connection(pair: Pair) -> None:
    pair.to_server()
    allowed = TLS_SILENT_BYTES_MAX // KEY_UPDATE_BYTES
    updates = [key_update(pair) for _ in range(allowed + 1)]
    assert {len(update) for update in updates} == {KEY_UPDATE_BYTES}
    pair.server.data_received(b"".join(updates[:-1]))
    assert not pair.wires[1].is_closing()

    pair.server.data_received(updates[-1])
    assert pair.wires[1].is_aborted
    pair.server.connection_lost(None)
    assert "nothing inside" in str(pair.inside[1].told[-1])


def test_key_updates_between_small_messages_are_counted_too(pair: Pair) -> None:
    pair.to_server()
    for _ in range(TLS_SILENT_BYTES_MAX // KEY_UPDATE_BYTES + 200):
        update = key_update(pair)
        pair.client.write(b"m")
        pair.server.data_received(update + pair.wires[0].take())

    assert pair.wires[1].is_aborted


def test_whoever_sends_much_may_change_keys_often(pair: Pair) -> None:
    pair.to_server()
    share = TLS_SLICE_BYTES // TLS_SILENT_PART // KEY_UPDATE_BYTES
    for _ in range(200):
        updates = b"".join(key_update(pair) for _ in range(share))
        pair.client.write(bytes(TLS_SLICE_BYTES))
        pair.server.data_received(updates + pair.wires[0].take())

    assert 200 * share * KEY_UPDATE_BYTES > TLS_SILENT_BYTES_MAX
    assert not pair.wires[1].is_aborted
    assert len(pair.inside[1].heard) == 200 * TLS_SLICE_BYTES


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_small_messages_are_no_silence(authority: Authority, version: ssl.TLSVersion) -> None:
    pair = Pair(authority)
    trust = authority.trust
    trust.maximum_version = version
    pair.client = TlsChannel(pair.wires[0], trust, is_server=False, host="localhost")
    pair.open()
    for _ in range(5_000):
        pair.client.write(b"m")
    pair.to_server()

    assert pair.inside[1].heard == b"m" * 5_000


# Ends


def test_data_and_end_in_one_read_are_told_in_order(pair: Pair) -> None:
    pair.client.write(b"last")
    pair.client.write_eof()
    assert pair.wires[0].is_eof_written
    pair.to_server()

    assert pair.inside[1].heard == b"last"
    assert pair.inside[1].told == ["eof"]
    assert pair.wires[1].is_closed  # as a socket whose end was seen
    pair.server.eof_received()
    assert pair.inside[1].told == ["eof"]


def test_an_end_that_said_goodbye_still_hears_the_other(pair: Pair) -> None:
    pair.client.write_eof()
    pair.server.write(b"not yet")
    pair.to_client()

    assert pair.inside[0].heard == b"not yet"
    pair.client.write(b"too late")
    pair.to_server()
    assert pair.inside[1].heard == b""


def test_an_end_without_goodbye_is_an_end_too(pair: Pair) -> None:
    pair.server.eof_received()

    assert pair.inside[1].told == ["eof"]


def test_close_says_goodbye_and_abort_does_not(pair: Pair, authority: Authority) -> None:
    pair.wires[0].take()
    pair.client.close()
    assert pair.wires[0].written
    assert pair.client.is_closing()

    other = Pair(authority).open()
    other.wires[0].take()
    other.client.abort()
    assert not other.wires[0].written
    assert other.wires[0].is_aborted
    other.client.write(b"nothing")
    other.client.write_eof()
    assert not other.wires[0].written


def test_a_record_that_was_changed_ends_the_connection_and_is_told(pair: Pair) -> None:
    pair.client.write(b"hello")
    record = bytearray(pair.wires[0].take())
    record[-1] ^= 1
    pair.server.data_received(bytes(record))

    assert pair.wires[1].is_aborted
    pair.server.connection_lost(None)
    [why] = pair.inside[1].told
    assert isinstance(why, ssl.SSLError)
    assert pair.inside[1].heard == b""


def test_back_pressure_is_that_of_the_connection_below(pair: Pair) -> None:
    pair.client.pause_reading()
    assert (pair.wires[0].is_paused, pair.client.is_reading()) == (True, False)
    pair.client.resume_reading()
    assert (pair.wires[0].is_paused, pair.client.is_reading()) == (False, True)
    pair.client.pause_writing()
    pair.client.resume_writing()
    assert pair.inside[0].told == ["pause", "resume"]


def test_a_certificate_for_another_name_is_refused_by_who_dials(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"other\.example"):
        Pair(authority, "other.example").open()


def test_what_is_no_tls_is_answered_by_an_alert(authority: Authority) -> None:
    pair = Pair(authority)

    with pytest.raises(ssl.SSLError):
        pair.server.feed(b"\x16\x03\x01\x00\x05hello")
    assert pair.wires[1].take()[:2] == b"\x15\x03"


def test_who_is_there_can_be_asked_of_the_channel(pair: Pair) -> None:
    seen = pair.server.get_extra_info("ssl_object")

    assert isinstance(seen, ssl.SSLObject)
    assert seen.version() == "TLSv1.3"
    assert pair.server.get_extra_info("peername", "below") == "below"
    assert pair.server.get_protocol() is pair.inside[1]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_carry_messages_and_neither_a_second_handshake(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    pair = Pair(authority)
    trust = hardened(authority.trust)
    trust.maximum_version = version
    pair.client = TlsChannel(pair.wires[0], trust, is_server=False, host="localhost")
    pair.open()
    pair.client.write(b"hello")
    pair.to_server()

    assert pair.inside[1].heard == b"hello"
    assert pair.client.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
    assert trust.options & ssl.OP_NO_RENEGOTIATION


# Dialling


class Newcomer(Inside):
    """Whoever is inside, before it has a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[asyncio.BaseTransport] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.append(transport)


class Dialled:
    """An end that dials, with one that the test feeds."""

    def __init__(
        self,
        authority: Authority,
        host: str = "localhost",
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        self.near, self.far = Wire(), Wire()
        self.inside = Newcomer()
        self.faults: list[str] = []
        trust = authority.trust
        trust.maximum_version = version
        self.server = TlsChannel(self.far, authority.served())
        self.dial = TlsDial(trust, host, self.inside, self.on_fault)
        self.dial.connection_made(self.near)

    def on_fault(self, error: ssl.SSLError | UnicodeError) -> None:
        self.faults.append(str(error.reason) if isinstance(error, ssl.SSLError) else type(error).__name__)

    def exchange(self) -> None:
        """One flight each."""
        self.server.feed(self.near.take())
        self.dial.data_received(self.far.take())


def test_whoever_is_inside_hears_of_the_connection_once_the_handshake_is_done(authority: Authority) -> None:
    dialled = Dialled(authority)
    assert dialled.inside.made == []
    dialled.exchange()

    [channel] = dialled.inside.made
    assert isinstance(channel, TlsChannel)
    assert dialled.near.protocol == channel
    assert dialled.faults == []


def test_what_comes_with_the_end_of_the_handshake_is_handed_in(authority: Authority) -> None:
    dialled = Dialled(authority, version=ssl.TLSVersion.TLSv1_2)  # in which the server has the last word
    dialled.exchange()
    dialled.server.feed(dialled.near.take())
    dialled.server.write(b"early")
    dialled.server.write_eof()
    assert dialled.inside.made == []
    dialled.dial.data_received(dialled.far.take())

    assert len(dialled.inside.made) == 1
    assert dialled.inside.heard == b"early"
    assert dialled.inside.told == ["eof"]


def test_a_refused_certificate_is_told_before_the_loss(authority: Authority) -> None:
    dialled = Dialled(authority, "other.example")
    dialled.exchange()
    dialled.dial.connection_lost(None)

    assert dialled.faults == ["CERTIFICATE_VERIFY_FAILED"]
    assert dialled.near.is_aborted
    assert dialled.inside.told == [None]
    assert dialled.inside.made == []


@pytest.mark.parametrize("host", ["", ".example", "a" * 64 + ".example", "a..example"])
def test_a_host_that_no_certificate_can_be_for_is_a_fault_and_closes(authority: Authority, host: str) -> None:
    near, inside, faults = Wire(), Newcomer(), list[Exception]()
    dial = TlsDial(authority.trust, host, inside, faults.append)
    dial.connection_made(near)
    dial.connection_lost(None)

    [fault] = faults
    assert isinstance(fault, UnicodeError)
    assert near.is_aborted
    assert (inside.made, inside.told) == ([], [None])
