"""Channels: opened, listened for, and what goes over one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol


if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


class Endpoint(NamedTuple):
    """Where the other end of a channel was seen.

    Attributes:
        host: IP address in text form; a name of its own for the memory transport.
        port: 0 to 65535; 0 if nobody knows it.
        protocol: `ws`, `wss`, `tcp`, `udp` or `memory`.
        proxy: IP of the trusted proxy in between, which told the host; empty if there is none.

    """

    host: str
    port: int
    protocol: str
    proxy: str = ""


class Link(Protocol):
    """One open channel that carries whole binary messages in order."""

    @property
    def remote(self) -> Endpoint:
        """The other end, as this machine sees it."""
        ...

    @property
    def bytes_in(self) -> int:
        """Bytes that arrived, framing included; those of the opening may be left out."""
        ...

    @property
    def bytes_out(self) -> int:
        """Bytes handed to the channel below, as `bytes_in`."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes that wait in this process, to be sent or to be delivered."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait to be sent."""
        ...

    @property
    def is_congested(self) -> bool:
        """True while more than LINK_UNSENT_BYTES_HIGH bytes wait to be sent."""
        ...

    def send(self, message: bytes) -> None:
        """Queue one message; a no-op on a link that is closing. Never blocks."""
        ...

    def flush(self) -> None:
        """Write what was sent so far now, and not only at the end of this turn of the loop; a no-op while messages are delivered."""
        ...

    def pause_reading(self) -> None:
        """Stop delivering messages; the sender will feel it. Idempotent."""
        ...

    def resume_reading(self) -> None:
        """Deliver messages again. Idempotent."""
        ...

    def close(self) -> None:
        """Send what is queued, then close; aborts by itself if the peer stalls. Idempotent."""
        ...

    def abort(self) -> None:
        """Close at once and drop what is queued. Idempotent."""
        ...


class LinkHandler(Protocol):
    """Whoever owns a link is told what happens on it, on the event loop, never re-entrantly from send()."""

    def on_message(self, message: bytes) -> None:
        """One whole message arrived."""
        ...

    def on_writable(self) -> None:
        """The link was congested and no longer is."""
        ...

    def on_closed(self, reason: str) -> None:
        """The link is gone; called exactly once, last."""
        ...


Accept = "Callable[[Link], LinkHandler | None]"
"""Called for every incoming link; None refuses it, and the link is aborted."""


class Listener(Protocol):
    """An address that is being listened on."""

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Where it listens, with the real port."""
        ...

    async def close(self) -> None:
        """Stop accepting; links already open stay open."""
        ...


class Transport(Protocol):
    """One way to open channels."""

    @property
    def schemes(self) -> frozenset[str]:
        """URL schemes that it dials."""
        ...

    async def dial(
        self,
        url: str,
        accept: Callable[[Link], LinkHandler],
        timeout_s: float,
        hosts: Sequence[str] = (),
        avoid: Collection[str] = (),
    ) -> Link:
        """Open a channel.

        Args:
            url: An address whose scheme is one of `schemes`.
            accept: Called once with the open link, before any message is delivered; returns its handler.
            timeout_s: Seconds for the whole opening.
            hosts: IP addresses to dial for its name, looked up and judged before. Empty: it is looked up here.
            avoid: IP addresses that are not dialled though the name leads there.

        Raises:
            NoOtherAddress: The name leads to those alone.
            DialFailed: Refused, unreachable, timed out, or not a node.

        """
        ...

    async def listen(
        self,
        host: str,
        port: int,
        accept: Callable[[Link], LinkHandler | None],
        admit: Callable[[Endpoint], bool] | None = None,
    ) -> Listener:
        """Accept channels.

        Args:
            host: Address to bind; `::` for all, `0.0.0.0` for all of IPv4.
            port: 0 picks a free one.
            accept: Called for every link whose opening handshake is done.
            admit: Asked for every connection, when nothing was done for it yet; False drops it. None admits all.

        Raises:
            ListenFailed: The address is taken or not this machine's.

        """
        ...
