"""`yz status`: what the node of this machine does, for people."""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING, NamedTuple

import click

from yzdht.cli.certificate import certificate_line
from yzdht.cli.local_options import local_node_options
from yzdht.cli.manual import manual
from yzdht.cli.nearby import lan_line, router_line
from yzdht.cli.settings import Settings, json_option
from yzdht.cli.units import plain, show_ago, show_count
from yzdht.errors import ExitCode
from yzdht.http.units import show_bytes, show_span
from yzdht.limits import STATUS_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from yzdht.cli.answers import AddressView, StatusView


_COLUMN = 13
_WIDTH = 80
_LINES_MAX = 16
"""Of one place."""
_STATES = {"unready": "not ready"}  # of those that are no word of people
_REACH = {
    "unknown": "nobody has tried it yet",
    "reachable": "reachable from outside",
    "relay": "reachable only through a relay",
    "unreachable": "not reachable",
}


@click.command(
    epilog=manual(
        "yz status",
        "yz status --data /var/lib/yz-node",
        "yz --json status --http http://127.0.0.1:8084",
        codes=(ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE, ExitCode.BAD_SIGNATURE, ExitCode.NO_NODE),
        said={
            ExitCode.OK: "the node answered, whatever it said of itself",
            ExitCode.NO_NODE: "no node runs, or it does not answer",
        },
    )
)
@local_node_options
@json_option
@click.pass_obj
def status(settings: Settings, *, data: Path | None, http: str | None) -> None:
    """Show what the node of this machine does.

    Its state, how it is reached, whom and what it knows, what it carries, and what went wrong lately with what to do.
    `yz doctor` looks closer if something is wrong.
    """
    import msgspec  # noqa: PLC0415 - not needed by --help

    from yzdht.cli.answers import StatusView  # noqa: PLC0415 - as above
    from yzdht.cli.local_node import ask_found, find_node  # noqa: PLC0415 - as above
    from yzdht.cli.progress import progress_aside  # noqa: PLC0415 - as above

    with progress_aside("asking the node"):
        view, raw = ask_found(find_node(data, http), "/status.json", StatusView, STATUS_BYTES_MAX)
    screen = settings.screen
    if screen.is_json:
        screen.object(msgspec.json.decode(raw))
        return
    now = time.time()  # noqa: TID251 - to say how long ago something was
    for line in lines_of(view, now):
        screen.line(line)


def lines_of(view: StatusView, now: float) -> Iterator[str]:
    """The state in lines for people.

    Args:
        view: What the node says.
        now: Unix seconds.

    """
    for name, text in _facts(view, now):
        yield f"{name:<{_COLUMN}}{plain(text)}"
    if not view.errors:
        return
    yield ""
    yield "what went wrong lately"
    for error in view.errors:
        times = "" if error.times <= 1 else f", {error.times} times"
        yield f"  {plain(error.what)} ({show_ago(now - error.at)}{times})"
        if error.hint:
            yield f"    {plain(error.hint)}"


def _facts(view: StatusView, now: float) -> Iterator[tuple[str, str]]:
    from yzdht.crypto.naming import fingerprint  # noqa: PLC0415 - loads the cryptography
    from yzdht.wire.text import decode_node_id  # noqa: PLC0415 - as above

    ready = view.ready
    state = _STATES.get(view.state, view.state)
    yield "state", ready.reason if ready.reason.startswith(state) else f"{state}: {ready.reason}"
    if ready.hint:
        yield "", ready.hint
    yield "node", fingerprint(decode_node_id(view.node_id))
    yield "node id", view.node_id
    yield "runs", f"version {view.version}, process {view.pid}, for {show_span(view.uptime_s)}"
    yield "network", view.network
    yield "data", view.data or "in memory"
    for url in view.listen:
        yield "listens at", url
    for place in places_of(view.addresses):
        yield from zip(("address", *[""] * _LINES_MAX), place.lines(), strict=False)
    yield from _over(view)
    if view.reachable == "unreachable":
        yield "role", "client only: others do not reach this node, so it keeps nothing for them"
    if not view.addresses:
        yield "address", "none: others cannot be told of it; name one with --public-address"
    if line := router_line(view):
        yield "router", line
    if line := certificate_line(view, now):
        yield "certificate", line
    if line := lan_line(view):
        yield "local net", line
    if view.http:
        yield "status page", view.http
    yield from _figures(view)


def _over(view: StatusView) -> Iterator[tuple[str, str]]:
    """Where IPv4 and IPv6 differ, or both are known, for each."""
    known = {name: reach for name, reach in view.reachable_over.items() if reach != "unknown"}
    if len(known) > 1:
        words = [
            f"over {name.replace('ip', 'IP')}: {_REACH.get(reach, reach)}" for name, reach in known.items()
        ]
        yield "reached", ", ".join(words)


class Shown(NamedTuple):
    """A place that is shown in one line: a host and port, in the protocols of which the same is to be said.

    Attributes:
        addresses: One of each protocol.

    """

    addresses: tuple[AddressView, ...]

    def lines(self) -> Iterator[str]:
        """What it is and whether it is reached, then why not and what helps, none wider than the screen."""
        first = self.addresses[0]
        name = first.url
        if len(self.addresses) > 1:
            protocols = ", ".join(address.url.partition("://")[0] for address in self.addresses)
            name = f"{_place_of(first.url)} ({protocols})"
        reach, _, rest = reach_of(first).partition(": ")
        line = f"{name}: {reach}"
        if len(line) > _WIDTH - _COLUMN:
            line, rest = name, f"{reach}: {rest}" if rest else reach
        yield line
        for text in (rest, first.hint):
            yield from textwrap.wrap(text, _WIDTH - _COLUMN, break_long_words=False, break_on_hyphens=False)


def places_of(addresses: Sequence[AddressView]) -> list[Shown]:
    """The addresses by their places; those at one place of which different things are to be said stay apart."""
    places: dict[tuple[str, ...], list[AddressView]] = {}
    for address in addresses:
        key = _place_of(address.url), reach_of(address), address.hint
        places.setdefault(key, []).append(address)
    return [Shown(tuple(of_one)) for of_one in places.values()]


def _place_of(url: str) -> str:
    """What stands behind the protocol: `urlsplit` refuses what a page that lies may show."""
    return url.partition("://")[2] or url


def reach_of(address: AddressView) -> str:
    """Whether others reach an address, in words."""
    if address.reachable == "unknown" and address.why:
        return address.why
    reach = _REACH.get(address.reachable, address.reachable)
    told = "" if address.advertised else ", so others are not told of it"
    return f"{reach}{f': {address.why}' if address.why else ''}{told}"


def _topics(view: StatusView) -> str | None:
    """Topics in one line; None where nothing is known of them, as of an older node."""
    topics = view.topics
    if topics.hosted is None or topics.messages is None:
        return None
    held = f"hosts {topics.hosted:,}, {show_count(topics.messages, 'message')}"
    return f"{held}, {show_count(topics.subscriptions or 0, 'subscription')}"


def _figures(view: StatusView) -> Iterator[tuple[str, str]]:
    sessions, records, traffic = view.sessions, view.records, view.traffic
    if view.bootstrap.tried:
        yield "bootstrap", f"{view.bootstrap.joined} of {view.bootstrap.tried} addresses answered"
    yield "knows", show_count(view.table.nodes, "node")
    yield (
        "connected",
        f"{show_count(sessions.nodes, 'node')}, {show_count(sessions.clients, 'client')}, {sessions.max:,} at most",
    )
    if records.count is None:
        yield "keeps", "unknown: its disk cannot be read"
    else:
        room = f"{show_bytes(records.bytes)} of {show_bytes(records.bytes_max)}"
        yield "keeps", f"{show_count(records.count, 'record')}, {room}"
    if (line := _topics(view)) is not None:
        yield "topics", line
    for name, roads, per_s in (
        ("received", traffic.in_, traffic.in_per_s),
        ("sent", traffic.out, traffic.out_per_s),
    ):
        yield name, f"{show_bytes(sum(roads.values()))}, now {show_bytes(per_s)} a second"
    refused = [
        f"{count:,} {reason.replace('_', ' ')}" for reason, count in view.limits.refused.items() if count
    ]
    if refused:
        yield "refused", f"because somebody took too much: {', '.join(refused)}"
