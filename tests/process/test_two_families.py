"""A host whose name has an IPv6 and an IPv4 address is reached although one of the two swallows everything.

A node that listens at both, and a person at the other end of a cable who knows its name; nftables drops one family without a
word, as a firewall does that is set up for the other alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.process.fleet import Spec, run_yz, steady_port
from tests.process.namespaces import FAR, cable, run
from tests.process.routers import nft


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.process.fleet import Fleet
    from tests.process.namespaces import Cable


pytestmark = pytest.mark.process

NEAR_6, FAR_6 = "2001:db8:77::1", "2001:db8:77::2"
NAME = "both.test"
_WITH_NAMES = 'mount --bind "$0" /etc/hosts && exec "$@"'
_COUNTING = """
table inet both {
  counter ipv4 {}
  counter ipv6 {}
  chain in {
    type filter hook input priority 0;
    tcp flags syn meta nfproto ipv4 counter name ipv4
    tcp flags syn meta nfproto ipv6 counter name ipv6
  }
}
"""


@pytest.fixture
def wire() -> Iterator[Cable]:
    """IPv4 and IPv6 on one cable; the far end counts who begins a connection by which."""
    with cable() as made:
        run("ip", "address", "add", f"{NEAR_6}/64", "dev", "near", "nodad")
        run(*made.beyond, "ip", "address", "add", f"{FAR_6}/64", "dev", "far", "nodad")
        run(*made.beyond, nft(), _COUNTING)
        yield made


def drop(wire: Cable, family: str) -> None:
    """Nothing of one family comes in any more."""
    run(*wire.beyond, nft(), f"add rule inet both in meta nfproto {family} meta l4proto tcp drop")


def begun(wire: Cable, family: str) -> int:
    """How often somebody tried to begin a connection."""
    listed = json.loads(run(*wire.beyond, nft(), "-j", "list", "counter", "inet", "both", family))
    [counter] = [each["counter"] for each in listed["nftables"] if "counter" in each]
    return int(counter["packets"])


@pytest.mark.parametrize(("dropped", "scheme"), [("ipv4", "tcp"), ("ipv6", "tcp"), ("ipv6", "ws")])
async def test_a_name_with_both_families_is_reached_although_one_leads_nowhere(
    wire: Cable, fleet: Fleet, tmp_path: Path, dropped: str, scheme: str
) -> None:
    node = await fleet.start(Spec("far", ["--allow-private"], steady_port(), "::", before=wire.beyond))
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{FAR_6} {NAME}\n{FAR} {NAME}\n")
    drop(wire, dropped)
    at = ["--home", str(tmp_path / "home"), "--node", f"{scheme}://{NAME}:{node.spec.port}"]
    before = ["unshare", "--mount", "sh", "-c", _WITH_NAMES, str(hosts)]

    code, _, err = await run_yz(*at, "put", "note", "-", stdin=b"all the same", before=before)

    assert code == 0, err
    assert begun(wire, "ipv4" if dropped == "ipv6" else "ipv6")
    if dropped == "ipv6":
        assert begun(wire, "ipv6"), "the system prefers it: it was tried first"
