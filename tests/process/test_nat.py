"""Whether a node behind a router learns that others reach it, or not, and says what to do: real nodes, a real NAT."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.fleet import PATIENCE_S, Spec, run_yz, steady_port, until
from tests.process.namespaces import run
from tests.process.routers import HOME, HOME_V6, OUTSIDE, router
from yzdht.limits import PORT_MAPPING_LOOK_S, REACH_AGAIN_MAPPED_S, REACH_LOOK_EVERY_S


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.process.fleet import Fleet, NodeProcess
    from tests.process.routers import Router


pytestmark = pytest.mark.process

PUBLIC = ("11.1.0.1", "11.2.0.1", "11.3.0.1")
HTTP = ("--http", "--http-port", "0")
ASK_EVERY_S = 0.5
MAPPED_PATIENCE_S = PATIENCE_S + REACH_AGAIN_MAPPED_S


@pytest.fixture
def box() -> Iterator[Router]:
    """A router between here and a home; it is asked for before the fleet, and so ends after it."""
    with router() as made:
        yield made


async def internet(fleet: Fleet) -> list[str]:
    """Three nodes in three public prefixes; their addresses."""
    first = await fleet.start(Spec("public-0", (), steady_port(), PUBLIC[0]))
    rest = [Spec(f"public-{n}", (), steady_port(), host, [first.url]) for n, host in enumerate(PUBLIC) if n]
    return [first.url, *(node.url for node in await asyncio.gather(*map(fleet.start, rest)))]


async def internet_of_both_versions(fleet: Fleet) -> list[str]:
    """Two nodes that have IPv4 and IPv6; their IPv4 addresses."""
    urls: list[str] = []
    for number in (1, 2):
        port = steady_port()
        own = [f"tcp://11.{number}.0.1:{port}", f"tcp://[2a01:{number}::1]:{port}"]
        flags = [word for url in own for word in ("--public-address", url)]
        await fleet.start(Spec(f"public-{number}", flags, port, "::", urls[:1]))
        urls.append(own[0])
    return urls


@contextlib.asynccontextmanager
async def relay(host: str, port: int) -> AsyncIterator[None]:
    """What a machine elsewhere does that passes on to the router whatever is dialled there."""
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(OUTSIDE, port)
        both = (carry(reader, outer), carry(inner, writer))
        tasks.update(asyncio.get_running_loop().create_task(one) for one in both)

    server = await asyncio.start_server(meet, host, port)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def status_of(node: NodeProcess, box: Router) -> dict[str, Any]:
    """`/status.json` as it is shown to somebody at home."""
    view: dict[str, Any] = json.loads(
        await said_at_home(box, "--json", "status", "--http", node.ready["http"])
    )
    return view


async def said_at_home(box: Router, *words: str, stdin: bytes = b"") -> str:
    code, out, err = await run_yz(*words, stdin=stdin, before=box.behind)
    assert code == 0, err
    return out.decode()


async def settles(
    node: NodeProcess, box: Router, reachable: str, patience_s: float = PATIENCE_S
) -> dict[str, Any]:
    """Wait until it has found out that."""
    shown: list[dict[str, Any]] = []

    async def is_so() -> bool:
        shown[:] = [await status_of(node, box)]
        return bool(shown[0]["reachable"] == reachable)

    await until(is_so, f"{node.spec.name} finds out that it is {reachable}", patience_s, ASK_EVERY_S)
    return shown[0]


async def test_a_node_behind_a_router_learns_that_nobody_reaches_it_and_says_so_and_still_works(
    box: Router, fleet: Fleet
) -> None:
    urls = await internet(fleet)
    port = steady_port()
    node = await fleet.start(Spec("home", HTTP, port, "0.0.0.0", urls, before=box.behind))

    view = await settles(node, box, "unreachable")

    assert view["seenAt"] == [OUTSIDE]
    outside = next(a for a in view["addresses"] if OUTSIDE in a["url"])
    assert (outside["reachable"], outside["advertised"]) == ("unreachable", False)
    assert f"TCP port {port}" in outside["hint"]
    text = await said_at_home(box, "status", "--http", node.ready["http"])
    assert "client only" in text
    assert "forward it on the router" in text
    home = str(fleet.folder / "person")
    here = ("--home", home, "--node", f"ws://127.0.0.1:{port}")
    await said_at_home(box, *here, "id", "new")
    await said_at_home(box, *here, "put", "note", stdin=b"hello")
    assert await said_at_home(box, *here, "get", "note") == "hello"


async def test_a_node_with_a_mapped_port_learns_that_it_is_reached_and_advertises_where_it_is_seen(
    box: Router, fleet: Fleet
) -> None:
    urls = await internet(fleet)
    port = steady_port()
    box.forward(port)
    node = await fleet.start(Spec("home", HTTP, port, "0.0.0.0", urls, before=box.behind))

    view = await settles(node, box, "reachable")

    told = [a["url"] for a in view["addresses"] if a["advertised"]]
    assert any(f"{OUTSIDE}:{port}" in url for url in told), view["addresses"]
    assert any(HOME in url for url in told)
    assert "reachable from outside" in await said_at_home(box, "status", "--http", node.ready["http"])


async def test_a_node_with_a_wrong_public_address_withdraws_it(box: Router, fleet: Fleet) -> None:
    urls = await internet(fleet)
    port = steady_port()
    box.forward(port)
    wrong = f"ws://{OUTSIDE}:{steady_port()}"
    elsewhere = f"ws://12.0.0.77:{port}"
    flags = (*HTTP, "--public-address", wrong, "--public-address", elsewhere)
    node = await fleet.start(Spec("home", flags, port, "0.0.0.0", urls, before=box.behind))
    assert node.urls == [wrong, elsewhere]

    view = await settles(node, box, "reachable")

    by_url = {a["url"]: a for a in view["addresses"]}
    assert [by_url[url]["reachable"] for url in (wrong, elsewhere)] == ["unreachable", "unreachable"]
    told = [url for url, a in by_url.items() if a["advertised"]]
    assert len(told) >= 1
    assert all(f"{OUTSIDE}:{port}" in url for url in told)
    assert "--public-address" in by_url[wrong]["hint"] or "forward" in by_url[wrong]["hint"]
    assert OUTSIDE in by_url[elsewhere]["why"]


async def test_a_node_that_nobody_reaches_has_the_router_forward_its_port_and_takes_that_back_at_its_end(
    box: Router, fleet: Fleet
) -> None:
    urls = await internet(fleet)
    port = steady_port()
    with box.serving("upnp"):
        node = await fleet.start(Spec("home", HTTP, port, "0.0.0.0", urls, before=box.behind))

        view = await settles(node, box, "reachable", MAPPED_PATIENCE_S)

        assert f"forwards its port {port} to this node (UPnP)" in await said_at_home(
            box, "status", "--http", node.ready["http"]
        )
        assert f"dport {port} dnat ip to {HOME}:{port}" in box.mapped()
        assert any(f"{OUTSIDE}:{port}" in a["url"] for a in view["addresses"] if a["advertised"])
        await node.stop()
        assert "dport" not in box.mapped()


@pytest.mark.parametrize(
    ("opens", "over", "is_client"),
    [
        (("ipv6",), {"ipv4": "unreachable", "ipv6": "reachable"}, False),
        (("ipv4",), {"ipv4": "reachable", "ipv6": "unreachable"}, False),
        ((), {"ipv4": "unreachable", "ipv6": "unreachable"}, True),
    ],
)
async def test_a_node_of_both_ip_versions_learns_of_each_whether_it_is_reached_and_one_is_enough(
    box: Router, fleet: Fleet, opens: tuple[str, ...], over: dict[str, str], *, is_client: bool
) -> None:
    box.have_ipv6()
    box.reject()
    urls = await internet_of_both_versions(fleet)
    port = steady_port()
    if "ipv4" in opens:
        box.forward(port)
    if "ipv6" in opens:
        box.admit_ipv6(port)
    flags = (*HTTP, "--no-port-mapping")
    node = await fleet.start(Spec("home", flags, port, "::", urls, before=box.behind))

    shown: list[dict[str, Any]] = []

    async def is_so() -> bool:
        shown[:] = [await status_of(node, box)]
        return bool(shown[0]["reachableOver"] == over)

    await until(is_so, f"{node.spec.name} finds out {over}", 2 * PATIENCE_S, ASK_EVERY_S)
    [view] = shown

    assert view["reachable"] == ("unreachable" if is_client else "reachable")
    assert view["seenAt"] == [OUTSIDE, HOME_V6]
    for version, host in (("ipv4", OUTSIDE), ("ipv6", HOME_V6)):
        at = [a for a in view["addresses"] if host in a["url"]]
        assert {a["reachable"] for a in at} == {over[version]}
        assert {a["advertised"] for a in at} == {version in opens}
        assert all("rejects" in a["why"] for a in at if a["reachable"] == "unreachable")
    text = await said_at_home(box, "status", "--http", node.ready["http"])
    assert ("client only" in text) is is_client
    words = {"reachable": "reachable from outside", "unreachable": "not reachable"}
    assert f"over IPv4: {words[over['ipv4']]}, over IPv6: {words[over['ipv6']]}" in text


async def test_public_addresses_that_the_node_alone_can_dial_do_not_make_it_reachable(
    box: Router, fleet: Fleet
) -> None:
    box.reject()
    urls = await internet(fleet)
    port = steady_port()
    turned_around, of_its_own = "12.0.0.77", "12.0.0.88"
    box.turn_around(turned_around, port)
    run(*box.behind, "ip", "address", "add", f"{of_its_own}/32", "dev", "lo")
    flags = [*HTTP]
    for host in (turned_around, of_its_own):
        flags += ["--public-address", f"tcp://{host}:{port}"]
    node = await fleet.start(Spec("home", flags, port, "0.0.0.0", urls, before=box.behind))

    view = await settles(node, box, "unreachable")

    by_host = {host: a for a in view["addresses"] for host in (turned_around, of_its_own) if host in a["url"]}
    assert {a["reachable"] for a in by_host.values()} == {"unknown"}
    assert "from this network alone" in by_host[turned_around]["why"]
    assert "client only" in await said_at_home(box, "status", "--http", node.ready["http"])


async def test_a_public_address_elsewhere_through_which_a_dial_comes_back_from_outside_is_reached(
    box: Router, fleet: Fleet
) -> None:
    urls = await internet(fleet)
    port = steady_port()
    box.forward(port)
    elsewhere = f"tcp://11.9.0.1:{port}"
    flags = (*HTTP, "--public-address", elsewhere)
    async with relay("11.9.0.1", port):
        node = await fleet.start(Spec("home", flags, port, "0.0.0.0", urls, before=box.behind))
        view = await settles(node, box, "reachable")
        await node.stop()

    assert [(a["url"], a["reachable"], a["advertised"]) for a in view["addresses"]] == [
        (elsewhere, "reachable", True)
    ]


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_router_that_is_killed_and_comes_back_is_asked_again_and_others_reach_the_node_again(
    box: Router, fleet: Fleet
) -> None:
    urls = await internet(fleet)
    port = steady_port()
    rule = f"dport {port} dnat ip to {HOME}:{port}"
    began = time.monotonic()
    with box.serving("upnp"):
        node = await fleet.start(Spec("home", HTTP, port, "0.0.0.0", urls, before=box.behind))
        await settles(node, box, "reachable", MAPPED_PATIENCE_S)
        assert rule in box.mapped()
        print(f"mapped and reached after {time.monotonic() - began:.0f} s")  # noqa: T201 - into the log
    with box.serving("upnp"):  # it knows of nothing, and serves at another port
        began = time.monotonic()

        async def is_mapped() -> bool:
            return rule in box.mapped()

        patience_s = PORT_MAPPING_LOOK_S + 2 * REACH_LOOK_EVERY_S + PATIENCE_S
        await until(is_mapped, "the router is asked again", patience_s, ASK_EVERY_S)
        print(f"mapped again {time.monotonic() - began:.0f} s after the router came back")  # noqa: T201 - as above
        view = await settles(node, box, "reachable")
        assert any(f"{OUTSIDE}:{port}" in a["url"] for a in view["addresses"] if a["advertised"])
        await node.stop()
        assert "dport" not in box.mapped()
