"""A page in Chromium has a session with a real node, over the node's own TLS and through nginx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.nginx.front import DOMAIN, Nginx, name_of
from tests.process.fleet import Fleet, NodeProcess, Spec
from tests.transport.authority import Authority
from tests.web.browser import page_of, pages, trust


if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Page


pytestmark = [pytest.mark.net, pytest.mark.process]

NAMES = f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with Fleet(tmp_path / "fleet") as made:
        yield made
    assert made.errors() == []


@pytest.fixture
async def page(authority: Authority, tmp_path: Path) -> AsyncIterator[Page]:
    """A page in a browser that trusts the authority."""
    home = tmp_path / "browser"
    trust(home, authority.ca)
    with pages() as address:
        async with page_of(f"{address}/web/test/session.html", home, NAMES) as opened:
            yield opened


async def who_am_i(page: Page, url: str) -> dict[str, Any]:
    """What a node says to the page, or why there is no session."""
    await page.wait_for_function("globalThis.askWhoAmI !== undefined")
    answer: dict[str, Any] = await page.evaluate("([url]) => askWhoAmI(url, 'main')", [url])
    return answer


async def with_tls(fleet: Fleet, name: str, authority: Authority, *hosts: str) -> NodeProcess:
    certificate, key = authority.sign(name, hosts)
    return await fleet.start(Spec(name, ["--tls-cert", str(certificate), "--tls-key", str(key)]))


async def test_a_page_speaks_to_a_node_over_its_own_tls(
    fleet: Fleet, authority: Authority, page: Page
) -> None:
    node = await with_tls(fleet, "node", authority, "localhost", name_of(7))

    for host in ("localhost", name_of(7)):
        answer = await who_am_i(page, f"wss://{host}:{node.port}/ws")

        assert answer == {
            "peer": node.node_id.hex(),
            "status": 0,
            "seen": ["127.0.0.1", answer["seen"][1], "wss"],
        }


async def test_a_page_is_kept_out_by_a_certificate_for_another_name_and_by_one_that_nobody_trusted_signed(
    fleet: Fleet, authority: Authority, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "another").mkdir()
    own = await with_tls(fleet, "own", authority, name_of(7))
    others = await with_tls(fleet, "others", Authority(tmp_path / "another"), name_of(7))

    assert "peer" in await who_am_i(page, f"wss://{name_of(7)}:{own.port}/ws")
    for url in (f"wss://{name_of(8)}:{own.port}/ws", f"wss://{name_of(7)}:{others.port}/ws"):
        assert await who_am_i(page, url) == {"error": "Error: the channel does not open: 1006"}


async def test_a_page_speaks_to_nodes_through_nginx(
    fleet: Fleet, authority: Authority, page: Page, tmp_path: Path
) -> None:
    flags = ("--trusted-proxy", "127.0.0.1")
    nodes = {number: await fleet.start(Spec(f"node{number}", flags)) for number in (1, 2)}
    places = {number: f"127.0.0.1:{node.port}" for number, node in nodes.items()}
    with Nginx(tmp_path / "nginx", authority, places) as nginx:
        for number, node in nodes.items():
            answer = await who_am_i(page, nginx.url(number))

            assert answer == {"peer": node.node_id.hex(), "status": 0, "seen": ["127.0.0.1", 0, "ws"]}
