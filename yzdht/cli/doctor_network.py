"""What `yz doctor` hears from other nodes: whether they answer, and what time it is there.

A clock is compared by a STORE that every node has to refuse, whatever its clock says: of a record that would live for
longer than the protocol allows. The refusal carries the other's time (PROTOCOL.md section 5, BAD_LIFETIME), and nothing
is stored anywhere. The median of several counts, so that one liar changes nothing among three.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from yzdht.cli.findings import ok, problem, unknown, warning
from yzdht.client import Client
from yzdht.crypto.naming import mutable_target, network_id
from yzdht.crypto.sealing import Author, Public, RecordDraft, seal_record
from yzdht.errors import NoNode, UsageError, YzError
from yzdht.http.units import show_span
from yzdht.ids import Tag
from yzdht.limits import CLOCK_SKEW_S, DAY_S, RECORD_LIFE_S_MAX
from yzdht.rpc.engine import Answer
from yzdht.store.keyfile import Identity
from yzdht.wire.address import parse_url
from yzdht.wire.rpc import Method, Refusal, Status, Store
from yzdht.wire.slot import Kind


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from yzdht.cli.findings import Finding
    from yzdht.config import Bootstrap
    from yzdht.ids import NodeId


_VISIT_S_MAX = 8.0
_CLOCK_S_NOTED = 60
_TAG_BYTES = 32


class Network(NamedTuple):
    """Which network others are asked in.

    Attributes:
        name: Its name.
        key: 32 bytes of a private one.
        ca: File of the authorities that count when wss is dialled; None for the system's.

    """

    name: str
    key: bytes | None
    ca: Path | None = None


class Visit(NamedTuple):
    """What one address came to.

    Attributes:
        url: Who was asked.
        node_id: Who answered; None for nobody.
        error: Why nobody did.
        ahead_s: By how many seconds this machine's clock is ahead of the node's; None if that is not known.

    """

    url: str
    node_id: NodeId | None
    error: str
    ahead_s: int | None


def visit_all(urls: Sequence[str], network: Network) -> list[Visit]:
    """Ask nodes who they are and what time it is there, all at once, in _VISIT_S_MAX seconds at most."""

    async def visit_them() -> list[Visit]:
        identity = Identity.generate()
        return await asyncio.gather(*(_visit(url, network, identity) for url in urls))

    return asyncio.run(visit_them()) if urls else []


async def _visit(url: str, network: Network, identity: Identity) -> Visit:
    node_id: NodeId | None = None
    ahead_s: int | None = None
    error = "does not answer in time"
    try:
        async with asyncio.timeout(_VISIT_S_MAX):
            client = Client.connect(
                url, identity=identity, network=network.name, network_key=network.key, ca=network.ca
            )
            async with client:
                [pinged] = await client.ping()
                node_id, error = pinged.node_id, pinged.error
                if node_id is not None:
                    with contextlib.suppress(TimeoutError):
                        ahead_s = await _ahead_of(client, url, network, identity)
    except TimeoutError:
        pass  # what was heard until then stands
    except NoNode as nobody:
        error = str(nobody).partition(f"{url}: ")[2].removesuffix(")") or str(nobody)
    except YzError as refused:
        error = str(refused)
    return Visit(url, node_id, error, ahead_s)


async def _ahead_of(client: Client, url: str, network: Network, identity: Identity) -> int | None:
    """Provoke BAD_LIFETIME; None if the node answers something else."""
    assert client._nodes is not None
    wall = time.time()  # noqa: TID251 - the clock that is compared
    request = _never_stored(int(wall), network, identity)
    answer = await client._nodes.call(parse_url(url).text, Method.STORE, request)
    if not isinstance(answer, Answer) or answer.status is not Status.BAD_LIFETIME:
        return None
    return int(wall) - answer.body.number if isinstance(answer.body, Refusal) else None


def _never_stored(created: int, network: Network, identity: Identity) -> Store:
    tag = Tag(secrets.token_bytes(_TAG_BYTES))
    net = network_id(network.name)
    draft = RecordDraft(Kind.MUTABLE, created, created + RECORD_LIFE_S_MAX + DAY_S, 1, tag)
    raw = seal_record(draft, b"", Public(), Author(identity.signer, identity.self_key, net), b"")
    return Store(mutable_target(net, identity.public_key, tag), raw)


def other_machines(urls: Sequence[str]) -> list[str]:
    """Those of others' addresses that parse, each once; whoever is on loopback has this machine's clock."""
    good: dict[str, None] = {}
    for url in urls:
        with contextlib.suppress(UsageError):
            parsed = parse_url(url)
            if parsed.ip is None or not parsed.ip.is_loopback:
                good[parsed.text] = None
    return list(good)


def findings_of_bootstrap(bootstraps: Sequence[Bootstrap], visits: Sequence[Visit]) -> Iterator[Finding]:
    """Whether the addresses that were named answer, and as the right nodes."""
    by_url = {visit.url: visit for visit in visits}
    for bootstrap in bootstraps:
        visit = by_url[bootstrap.url]
        if visit.node_id is None:
            yield problem(
                "bootstrap",
                f"{bootstrap.url}: {visit.error}",
                "check the address, that the node is up, the network name and the network key",
            )
        elif bootstrap.node_id not in (None, visit.node_id):
            yield problem(
                "bootstrap",
                f"{bootstrap.url}: another node answers there, {visit.node_id.hex()}",
                "ask whoever runs it for its node id",
            )
        else:
            yield ok("bootstrap", f"{bootstrap.url} answers")


def finding_of_clock(visits: Sequence[Visit], reason: str) -> Finding:
    """What other nodes' clocks say of this machine's.

    Args:
        visits: Whom was asked.
        reason: What the node's own check said; it names the clock if that was the trouble.

    """
    told = [visit.ahead_s for visit in visits if visit.ahead_s is not None]
    if not told:
        if "this machine's clock" in reason:  # an address in it may hold the word as well
            return problem("clock", reason, "set this machine's clock")
        return unknown(
            "clock",
            "could not be compared: no node of another machine told its time",
            "name a node to compare with: yz doctor --bootstrap URL",
        )
    ahead_s = round(statistics.median(told))
    where = f"{len(told)} other node{'' if len(told) == 1 else 's'}"
    if abs(ahead_s) <= _CLOCK_S_NOTED:
        return ok("clock", f"agrees with {where} to within {max(1, abs(ahead_s))} s")
    fact = f"is {show_span(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'} {where}"
    hint = "set this machine's clock, and let it be kept right by NTP"
    if abs(ahead_s) > CLOCK_SKEW_S:
        return problem("clock", fact, hint)
    return warning("clock", fact, f"{hint}; above {CLOCK_SKEW_S // 60} min records are refused")
