"""What `yz doctor` sees of a node's process: whether it answers, its port, its file limit, and what it says of itself."""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from yzdht.cli.announcement import NO_ADDRESS, NO_ADDRESS_HINT, WILDCARDS
from yzdht.cli.answers import PeersView, ReadyView, StatusView, decode_answer
from yzdht.cli.descriptors import files_for
from yzdht.cli.findings import ok, problem, problem_of, unknown, warning
from yzdht.cli.local_node import ask, fetch, refuse_another
from yzdht.cli.nearby import check_lan, check_router
from yzdht.cli.units import show_ago
from yzdht.errors import NoNode
from yzdht.http.units import show_span
from yzdht.limits import (
    HOUR_S,
    NODE_ANSWER_S_MAX,
    PEERS_BYTES_MAX,
    READY_CHECK_S_MAX,
    SESSIONS_MAX,
    SESSIONS_MAX_COMMUNITY,
    STATUS_BYTES_MAX,
)
from yzdht.version import VERSION


if TYPE_CHECKING:
    from collections.abc import Iterator

    from yzdht.cli.answers import AddressView, RunView
    from yzdht.cli.findings import Finding
    from yzdht.cli.local_node import Tenancy


_READY_BYTES_MAX = 65_536
_CONNECT_S_MAX = 3.0
_USED_OF_TEN_MAX = 9


class Talk:
    """What the node said, or why it did not.

    Attributes:
        status: Its state; None if it said nothing.
        peers: Who is connected; None likewise.
        ready: Whether it is of use; None likewise.
        trouble: Why it did not answer; None if it did, or was not asked.

    """

    def __init__(self) -> None:
        self.status: StatusView | None = None
        self.peers: PeersView | None = None
        self.ready: ReadyView | None = None
        self.trouble: NoNode | None = None


def talk_to(url: str, run: RunView | None = None) -> Talk:
    """Ask a node everything that `yz doctor` wants to know of it; its first silence ends that.

    Args:
        url: Its status page.
        run: What it says of itself in its folder, if that is known; another node that answers there is not it.

    """
    talk = Talk()
    try:
        status, _ = ask(url, "/status.json", StatusView, STATUS_BYTES_MAX)
        if run is not None:
            refuse_another(status, run, url)
        talk.status = status
        talk.peers, _ = ask(url, "/peers.json", PeersView, PEERS_BYTES_MAX)
        reply = fetch(url, "/readyz", _READY_BYTES_MAX, READY_CHECK_S_MAX + NODE_ANSWER_S_MAX)
        talk.ready = decode_answer(reply.body, ReadyView, url)
    except NoNode as error:
        talk.trouble = error
    return talk


def check_version(talk: Talk) -> Iterator[Finding]:
    """Whether the node is of the version that is installed."""
    own = VERSION
    if talk.status is not None and talk.status.version != own:
        yield warning(
            "version",
            f"the node runs {talk.status.version}, {own} is installed",
            "restart the node, or run the doctor of its version",
        )
    else:
        yield ok("version", own)


def check_process(tenancy: Tenancy | None, talk: Talk) -> Iterator[Finding]:
    """Whether a node runs and answers."""
    status = talk.status
    if status is not None:
        yield ok("node", f"process {status.pid} runs for {show_span(status.uptime_s)}, {status.state}")
        if talk.trouble is not None:
            yield problem_of("node", talk.trouble)
    elif talk.trouble is not None:
        who = "" if tenancy is None or tenancy.holder is None else f"process {tenancy.holder}: "
        yield problem("node", f"{who}{talk.trouble}", talk.trouble.hint)
    elif tenancy is None:
        yield warning("node", "no node of yours runs", "start one with: yz-node; or name it with --data DIR")
    elif not tenancy.is_held and tenancy.run is not None:
        yield warning(
            "node",
            f"process {tenancy.run.pid} ended without saying so, killed or with its machine",
            f"look at its log for why; {tenancy.start_hint}",
        )
    elif not tenancy.is_held:
        yield warning("node", f"no node runs in {tenancy.path}", tenancy.start_hint)
    elif tenancy.run is None:
        yield warning(
            "node",
            f"process {tenancy.holder or 'unknown'} has {tenancy.path} and does not say where it is",
            "if it has just been started, try again in some seconds",
        )
    else:
        yield unknown(
            "node",
            f"process {tenancy.run.pid} runs without a status page, so it cannot be asked",
            "start it without --no-http",
        )


def check_port(host: str, port: int, *, is_running: bool) -> Iterator[Finding]:
    """Whether the node's port takes connections, or is free for it.

    Args:
        host: What it listens on, or will.
        port: Likewise.
        is_running: True if the node should be there.

    """
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if is_running:
        try:
            socket.create_connection((WILDCARDS.get(host, host), port), _CONNECT_S_MAX).close()
        except OSError as error:
            yield problem(
                "port",
                f"{place} takes no connections: {error.strerror or error}",
                "restart the node, and look at its log",
            )
        else:
            yield ok("port", f"{place} takes connections")
        return
    yield _free_port(host, port, place)


def _free_port(host: str, port: int, place: str) -> Finding:
    from yzdht.transport.sockets import bound, explain_bind  # noqa: PLC0415 - loads the library

    try:
        with bound(host, port) as sock:
            sock.listen()
    except (OSError, OverflowError, UnicodeError) as error:
        return problem(
            "port", str(explain_bind(host, port, error)), f"see what has it with: ss -ltnp 'sport = :{port}'"
        )
    return ok("port", f"{place} is free")


def check_files(tenancy: Tenancy | None, talk: Talk) -> Iterator[Finding]:
    """How many files and connections the process may have open."""
    import resource  # noqa: PLC0415 - not needed by --help

    import psutil  # noqa: PLC0415 - as above

    pid = None
    if tenancy is not None and tenancy.is_held and tenancy.run is not None:
        pid = tenancy.run.pid
    if pid is None or talk.status is None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # up to which a node raises its own
        if 0 <= most < files_for(SESSIONS_MAX_COMMUNITY):
            hint = f"raise it with: ulimit -n {files_for(SESSIONS_MAX)}"
            yield warning("file limit", f"{most:,} files for a node started here", hint)
        else:
            yield ok("file limit", f"{_many(most)} files for a node started here")
        return
    try:
        process = psutil.Process(pid)
        soft, _ = process.rlimit(psutil.RLIMIT_NOFILE)
        used = process.num_fds()
    except (psutil.Error, AttributeError, OSError):  # another user's, or a system that does not tell
        yield unknown("file limit", f"that of process {pid} cannot be read")
        return
    yield _finding_of_files(soft, used, talk.status.sessions.max)


def _finding_of_files(soft: int, used: int, sessions_max: int) -> Finding:
    fact = f"{used:,} of {_many(soft)} files are open"
    needed = files_for(sessions_max)
    hint = f"raise it to {needed:,} or more: LimitNOFILE= in the unit, or ulimit -n before yz-node"
    if soft < 0 or soft >= needed:
        return ok("file limit", fact)
    if used * 10 > soft * _USED_OF_TEN_MAX:
        return problem("file limit", fact, hint)
    return warning(
        "file limit", f"{fact}, too few for {sessions_max:,} sessions and who knocks meanwhile", hint
    )


def _many(soft: int) -> str:
    return "any number of" if soft < 0 else f"{soft:,}"


def check_readiness(talk: Talk) -> Iterator[Finding]:
    """Whether it stores and reads through other nodes."""
    ready = talk.ready
    if ready is None:
        yield unknown("readiness", "nobody could be asked whether the node is of use")
    elif ready.ready:
        yield ok("readiness", ready.reason, ready.hint)
    else:
        status = talk.status
        is_joining = status is not None and status.uptime_s < 60 and status.state != "failing"  # noqa: PLR2004 - a minute to join
        yield (warning if is_joining else problem)("readiness", ready.reason, ready.hint)


def check_joined(talk: Talk) -> Iterator[Finding]:
    """Whether the addresses that it was told to join through answered."""
    status = talk.status
    if status is None or not status.bootstrap.tried:
        return
    tried, joined = status.bootstrap.tried, status.bootstrap.joined
    fact = f"{joined} of the {tried} addresses that the node was told answered it"
    if joined or status.table.nodes:
        yield (ok if joined == tried else warning)(
            "bootstrap", fact, "" if joined == tried else "check the others; the log names them"
        )
    else:
        yield problem("bootstrap", fact, "check the addresses, and that those nodes are up; the log says why")


def check_reach(talk: Talk) -> Iterator[Finding]:
    """Whether others reach it, address by address, as far as that shows."""
    status, peers = talk.status, talk.peers
    if status is None or peers is None:
        return
    if not status.addresses:
        yield warning("reachability", NO_ADDRESS, NO_ADDRESS_HINT)
    for address in status.addresses:
        yield from _check_address(address)
    yield from check_router(status)
    yield from check_lan(status)
    if status.reachable == "reachable" and "unreachable" in status.reachable_over.values():
        closed = [
            v.replace("ip", "IP") for v, reach in status.reachable_over.items() if reach == "unreachable"
        ]
        yield warning(
            "reachability",
            f"it is not reached over {' and '.join(closed)}: nodes that have nothing else cannot dial it",
            f"open TCP port {_port_of(status)} there, too; it stays a full node meanwhile",
        )
    if status.reachable == "unreachable":
        yield problem(
            "reachability",
            "no other node reaches this one: it only asks, and keeps nothing for others",
            _opening(status),
        )
    elif status.addresses and all(address.reachable == "unknown" for address in status.addresses):
        yield _guessed(status, peers)


def _opening(status: StatusView) -> str:
    """What lets others in; the router that forwards the port already needs no more of that."""
    port = _port_of(status)
    if status.router.port is not None:
        return (
            f"open TCP port {port} in the firewall of this machine; if it is, a second router or the provider keeps others out:"
            " forward the port there, too, or ask for a public address"
        )
    return f"behind a router forward TCP port {port} to this machine; open that port in the firewall"


def _check_address(address: AddressView) -> Iterator[Finding]:
    if address.reachable == "reachable":
        yield ok("reachability", f"{address.url} is reached from outside")
    elif address.reachable == "relay":
        yield ok("reachability", f"{address.url} is reached only through a relay")
    elif address.reachable == "unreachable":
        told = "" if address.advertised else ", and others are not told of it"
        yield warning("reachability", f"{address.url} is not reached: {address.why}{told}", address.hint)


def _guessed(status: StatusView, peers: PeersView) -> Finding:
    """What shows while nobody has tried."""
    came = {peer.host for peer in peers.peers if not peer.dialled and _is_global(peer.host)}
    if came:
        return ok("reachability", f"others reach it: connections came from {len(came)} hosts outside")
    return unknown(
        "reachability",
        "no connection came from outside of this network yet; whether any can is not known",
        f"behind a router forward TCP port {_port_of(status)}, and name the outside address with --public-address",
    )


def _is_global(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_global
    return False


def _port_of(status: StatusView) -> str:
    return status.listen[0].rpartition(":")[2] if status.listen else "of the node"


def check_errors(talk: Talk, now: float) -> Iterator[Finding]:
    """What the node remembers of the last hour.

    Args:
        talk: What it said.
        now: Unix seconds.

    """
    if talk.status is None:
        return
    if talk.status.records.count is None:
        yield problem("disk", "the node cannot read its records", "check the disk, then restart the node")
    for error in talk.status.errors:
        if now - error.at < HOUR_S:
            times = "" if error.times <= 1 else f", {error.times} times"
            yield warning("node reports", f"{error.what} ({show_ago(now - error.at)}{times})", error.hint)
