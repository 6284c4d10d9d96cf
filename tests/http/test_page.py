"""The page for people: whole, escaped, and without anything that runs or is loaded."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.kit import a_node, get
from yzdht.http.page import POLICY, render
from yzdht.http.server import HttpServer


if TYPE_CHECKING:
    from yzdht.http.views import Json


EVIL = "<script>alert('x')</script>\"'&<b onclick=1>"
VOID = {"meta", "link", "meter", "br"}


class Read(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID - {"meter"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _, attrs in self.tags for key, value in attrs.items() if key == name]


def peer(**more: object) -> Json:
    return {
        "nodeId": "ab" * 32, "host": "192.0.2.1", "url": None, "road": "ws", "dialled": False, "rttMs": 1.25,
        "sinceS": 61, "isClient": False, "isInTable": True, "bytesIn": 2_048, "bytesOut": 0, **more,
    }  # fmt: skip


def status(**more: object) -> dict[str, Any]:
    return {
        "nodeId": "ab" * 32, "version": "1.0", "network": "main", "type": "community", "state": "ready",
        "startedAt": 0, "uptimeS": 90_061, "pid": 7, "data": None, "listen": ["ws://127.0.0.1:1"],
        "addresses": [{"url": "ws://192.0.2.7:1", "reachable": "unknown", "why": ""}], "http": "http://127.0.0.1:2",
        "bootstrap": {"tried": 2, "joined": 1}, "table": {"nodes": 3, "mode": "small", "buckets": []},
        "sessions": {"nodes": 1, "clients": 1, "halfOpen": 0, "max": 10},
        "records": {"count": 5, "bytes": 1_536, "bytesMax": 1 << 30},
        "topics": {"hosted": 21, "messages": 1, "bytes": 99, "subscriptions": 4},
        "traffic": {"in": {"ws": 100}, "out": {"ws": 1, "wss": 1}, "inPerS": 10.0, "outPerS": 0.0},
        "ready": {"ready": True, "reason": "it works", "hint": "", "checkedAt": 1}, "limits": {"refused": {}},
        "rejected": {}, "errors": [], "counters": {}, **more,
    }  # fmt: skip


def read(view: Json, *peers: Json) -> Read:
    return Read(render(view, {"peers": list(peers)}, 1_000.0))


# The page


def test_a_page_says_what_there_is_to_say() -> None:
    page = read(status(errors=[{"at": 940, "what": "disk full", "hint": "make room", "times": 3}]), peer())

    for text in (
        "Ready", "it works", "network main", "1 d 1 h", "1.5 KiB of 1.0 GiB", "disk full", "make room", "1 min ago",
        "3 times", "ws://192.0.2.7:1", "not tested from outside", "1 of 2 bootstrap", "192.0.2.1", "1.2 ms",
        "Topics hosted", "21", "1 message,", "4 subscriptions", "abababab", "in memory only", "The newest 1 of 2",
    ):  # fmt: skip
        assert text in " ".join(page.text.split()), text


def test_a_page_says_of_each_address_whether_others_reach_it_and_what_helps() -> None:
    addresses = [
        {"url": "ws://192.0.2.7:1", "reachable": "reachable", "advertised": True, "why": "", "hint": ""},
        {"url": "ws://192.0.2.8:1", "reachable": "relay", "advertised": True, "why": "", "hint": ""},
        {
            "url": "ws://192.0.2.9:1",
            "reachable": "unreachable",
            "advertised": False,
            "why": "no answer",
            "hint": "open the port",
        },
    ]
    page = " ".join(read(status(addresses=addresses)).text.split())

    assert "ws://192.0.2.7:1 reachable from outside" in page
    assert "ws://192.0.2.8:1 reachable only through a relay" in page
    assert "ws://192.0.2.9:1 not reachable: no answer; open the port; others are not told of it" in page


def test_a_node_that_is_not_ready_says_what_to_do() -> None:
    ready = {"ready": False, "reason": "nobody answers", "hint": "mend the network", "checkedAt": 1}
    page = read(status(state="unready", ready=ready))

    assert "Not ready" in page.text
    assert "verdict bad" in page.attributes("class")
    assert "mend the network" in page.text


def test_a_node_that_only_just_started_is_no_trouble_yet() -> None:
    ready = {
        "ready": False,
        "reason": "joining: it knows few yet",
        "hint": "wait some seconds",
        "checkedAt": 1,
    }
    page = read(status(state="joining", ready=ready))

    assert "Joining" in page.text
    assert "verdict wait" in page.attributes("class")


def test_a_node_without_anybody_or_anything_has_a_page() -> None:
    page = read(
        status(
            addresses=[],
            records={"count": None, "bytes": None, "bytesMax": 1},
            bootstrap={"tried": 0, "joined": 0},
        )
    )

    for text in ("Nobody is connected", "None since it was started", "unknown", "--public-address"):
        assert text in page.text


def test_whatever_others_named_is_text_and_nothing_else() -> None:
    plain = read(status(), peer(url="ws://192.0.2.1:1", nodeId="cd" * 32))
    page = read(
        status(
            network=EVIL, data=EVIL, version=EVIL, listen=[EVIL], addresses=[{"url": EVIL, "reachable": "unknown", "why": EVIL}],
            ready={"ready": True, "reason": EVIL, "hint": EVIL, "checkedAt": 1},
            errors=[{"at": 1, "what": EVIL, "hint": EVIL, "times": 2}],
            limits={"refused": {EVIL: 1}}, rejected={EVIL: 1},
        ),
        peer(url=EVIL, road=EVIL, nodeId=EVIL),
    )  # fmt: skip

    assert page.text.count(EVIL) == 14
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags} | {
        "tr",
        "b",
        "small",
        "br",
        "ul",
        "li",
    }
    assert "onclick" not in {key for _, attrs in page.tags for key in attrs}
    assert [title for title in page.attributes("title") if "script" in title] == [EVIL]


def test_nothing_runs_and_nothing_is_loaded() -> None:
    page = read(status(), peer())

    assert "script" not in {tag for tag, _ in page.tags}
    assert page.attributes("src") == []
    assert page.attributes("style") == []
    assert set(page.attributes("href")) == {
        "data:,", "/status.json", "/peers.json", "/node.json", "/metrics", "/readyz", "/healthz",
    }  # fmt: skip
    assert "url(" not in page.style
    assert "@import" not in page.style


def test_the_policy_names_the_style_that_the_page_carries() -> None:
    hashed = b64encode(sha256(read(status()).style.encode()).digest()).decode()

    assert f"style-src 'sha256-{hashed}'" in POLICY
    assert "unsafe" not in POLICY


def test_the_page_renews_itself_and_fits_phones_and_the_dark() -> None:
    page = read(status())

    assert "10" in page.attributes("content")
    assert "width=device-width, initial-scale=1" in page.attributes("content")
    assert "prefers-color-scheme: dark" in page.style
    assert "overflow-x: auto" in page.style


@pytest.mark.net
async def test_a_node_of_a_network_with_an_odd_name_has_a_sound_page() -> None:
    name = "<script>no</script>"
    async with a_node(network=name) as node, HttpServer(node) as http:
        html = (await get(http, "/")).text

    assert name not in html
    assert f"network {name}" in Read(html).text
