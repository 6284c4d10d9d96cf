"""A real router's daemon, asked to forward ports: PCP, UPnP, conflicts, a router that was restarted, what all that costs it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.process.namespaces import run
from tests.process.routers import HOME, ROUTER, router


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.process.routers import Router

    Ask = Callable[[str], dict[str, Any]]


pytestmark = pytest.mark.process

PORT = 8_083
OTHER = "192.168.7.3"


@pytest.fixture
def box() -> Iterator[Router]:
    with router() as made:
        yield made


@contextlib.contextmanager
def asker(box: Router, port: int = PORT) -> Iterator[Ask]:
    """Somebody at home who asks for a port, and what becomes of each request."""
    command = [*box.behind, *mapping(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as at_home:
        assert at_home.stdin is not None
        assert at_home.stdout is not None
        to, of = at_home.stdin, at_home.stdout

        def ask(word: str) -> dict[str, Any]:
            to.write(f"{word}\n".encode())
            to.flush()
            said: dict[str, Any] = json.loads(of.readline())
            return said

        try:
            yield ask
        finally:
            at_home.kill()


def mapping(port: int) -> tuple[str, ...]:
    return sys.executable, str(Path(__file__).with_name("mapping.py")), str(port)


def rule(outside: int, host: str = HOME, inside: int = PORT) -> str:
    return f"dport {outside} dnat ip to {host}:{inside}"


@pytest.mark.parametrize(("speaks", "protocol"), [("natpmp", "pcp"), ("upnp", "upnp")])
def test_a_real_router_forwards_a_port_and_forgets_it_at_the_end(
    box: Router, speaks: str, protocol: str
) -> None:
    with box.serving(speaks), asker(box) as ask:
        said = ask("keep")

        assert said == {"mapping": {"port": PORT, "life_s": 3_600, "protocol": protocol}, "trouble": ""}
        assert rule(PORT) in box.mapped()
        assert ask("keep") == said
        assert box.mapped().count("dnat") == 1
        ask("end")
        assert "dnat" not in box.mapped()


def test_a_router_that_was_killed_and_comes_back_elsewhere_forwards_the_port_again(box: Router) -> None:
    with asker(box) as ask:
        with box.serving("upnp"):
            first = ask("keep")
        assert ask("keep")["trouble"]
        with box.serving("upnp"):  # at another port of HTTP
            assert ask("keep") == first
            assert rule(PORT) in box.mapped()


def test_the_mapping_of_another_machine_stays_and_another_port_is_forwarded(box: Router) -> None:
    run(*box.behind, "ip", "address", "add", f"{OTHER}/24", "dev", "eth0")
    with box.serving("upnp"), asker(box) as ask:
        assert run(*box.behind, *mapping(PORT), ROUTER, OTHER) == f"{PORT}\n"

        outside = ask("keep")["mapping"]["port"]

        assert outside != PORT
        assert rule(PORT, OTHER) in box.mapped()
        assert rule(outside) in box.mapped()
        ask("end")
        assert box.mapped().count("dnat") == 1
        assert rule(PORT, OTHER) in box.mapped()


def test_at_a_public_address_nobody_is_asked_by_upnp_and_nothing_is_missed(box: Router) -> None:
    run(*box.inside, "ip", "address", "add", "12.0.0.1/24", "dev", "lan")
    run(*box.behind, "ip", "address", "add", "12.0.0.2/24", "dev", "eth0")
    run(*box.behind, "ip", "route", "replace", "default", "via", "12.0.0.1")
    with box.serving("upnp") as said, asker(box) as ask:
        assert ask("keep") == {"mapping": None, "trouble": ""}

    assert not any("SSDP M-SEARCH from" in line for line in said)


def test_a_router_gets_few_requests(box: Router) -> None:
    with box.serving("upnp") as said, asker(box) as ask:
        ask("keep")
        ask("keep")
        ask("end")
    searches = [line for line in said if "SSDP M-SEARCH from" in line]
    requests = [line for line in said if "HTTP REQUEST from" in line]

    assert len(searches) == 1
    assert len(requests) == 3 + 1 + 2, (
        "description, who has the port, forward it; who has it; who has it, forget it"
    )
