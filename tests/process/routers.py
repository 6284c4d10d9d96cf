"""A home behind a router that translates addresses: three networks of this machine, and cables between them.

The public side is the thread's own network, in which all of 11.0.0.0/8 is this machine (internet.py): a node of it that
listens at 11.1.0.1 is in another public prefix than one at 11.2.0.1. The router and the home are held by processes that
end with the test, so that nothing is left behind.

    11.0.0.0/8, 12.0.0.1 == 12.0.0.2 router 192.168.7.1 == 192.168.7.2 home
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.process.internet import own_internet
from tests.process.namespaces import held, run


if TYPE_CHECKING:
    from collections.abc import Iterator


OUTSIDE: Final = "12.0.0.2"
"""The router's public address, at which all of the home is seen."""
HOME: Final = "192.168.7.2"
_NEAR, _ROUTER = "12.0.0.1", "192.168.7.1"

_RULES = """
table ip nat {
  chain out { type nat hook postrouting priority 100; oifname "wan" masquerade; }
  chain in { type nat hook prerouting priority -100; }
}
table ip filter {
  chain forward {
    type filter hook forward priority 0;
    iifname "wan" ct status dnat accept;
    iifname "wan" ct state new drop;
  }
  chain input { type filter hook input priority 0; iifname "wan" ct state new drop; }
}
"""


@dataclass(frozen=True, slots=True)
class Router:
    """What stands between a home and everybody else.

    Attributes:
        behind: What stands in front of a command that is to run at home.
        inside: The same for the router itself.

    """

    behind: tuple[str, ...]
    inside: tuple[str, ...]

    def forward(self, port: int) -> None:
        """Map a TCP port of the public address to the same port of the home."""
        rule = f'iifname "wan" tcp dport {port} dnat to {HOME}:{port}'
        run(*self.inside, nft(), f"add rule ip nat in {rule}")

    def mapped(self) -> str:
        """What it maps, as its rules show it."""
        return run(*self.inside, nft(), "list", "chain", "ip", "nat", "in")

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Whoever is at home may map ports by NAT-PMP meanwhile (mapper.py)."""
        command = [*self.inside, sys.executable, "-I", str(Path(__file__).with_name("mapper.py"))]
        with subprocess.Popen([*command, _ROUTER, HOME, nft()], stdout=subprocess.PIPE) as served:
            try:
                assert served.stdout is not None
                assert served.stdout.readline() == b"serving\n"
                yield
            finally:
                served.kill()


@contextlib.contextmanager
def router() -> Iterator[Router]:
    """Move this thread to the public side and back; everything started there must have ended before."""
    with own_internet(), held() as box, held() as home:
        made = Router(_enter(home), _enter(box))
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "wan", "netns", str(box))
        run("ip", "address", "add", f"{_NEAR}/24", "dev", "near")
        run("ip", "link", "set", "near", "up")
        run(*made.inside, "ip", "address", "add", f"{OUTSIDE}/24", "dev", "wan")
        run(*made.inside, "ip", "link", "set", "wan", "up")
        run(*made.inside, "ip", "route", "add", "default", "via", _NEAR)
        run(
            *made.inside,
            "ip",
            "link",
            "add",
            "lan",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(home),
        )
        run(*made.inside, "ip", "address", "add", f"{_ROUTER}/24", "dev", "lan")
        run(*made.inside, "ip", "link", "set", "lan", "up")
        run(*made.behind, "ip", "address", "add", f"{HOME}/24", "dev", "eth0")
        run(*made.behind, "ip", "link", "set", "eth0", "up")
        run(*made.behind, "ip", "route", "add", "default", "via", _ROUTER)
        # The files there are those of the network of whoever writes.
        run(*made.inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        run(*made.inside, nft(), _RULES)
        yield made


def _enter(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


def nft() -> str:
    """Where the command is; Debian keeps it off the path of ordinary users."""
    found = shutil.which("nft") or shutil.which("nft", path="/usr/sbin")
    assert found is not None, "the command nft is missing: make debian-packages"
    return found
