"""A home behind a router that translates addresses: three networks of this machine, and cables between them.

The public side is the thread's own network, in which all of 11.0.0.0/8 is this machine (internet.py): a node of it that
listens at 11.1.0.1 is in another public prefix than one at 11.2.0.1. The router and the home are held by processes that
end with the test, so that nothing is left behind.

    11.0.0.0/8, 12.0.0.1 == 12.0.0.2 router 192.168.7.1 == 192.168.7.2 home

With IPv6 (`Router.have_ipv6`) all of 2a01::/16 is the public side, too, and the home has addresses of its own, which the
router translates not and guards.

    2a01::/16, 2a02::1 == 2a02::2 router 2a03::1 == 2a03::2 home
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.process.internet import own_internet
from tests.process.namespaces import held, run


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


OUTSIDE: Final = "12.0.0.2"
"""The router's public address, at which all of the home is seen."""
HOME: Final = "192.168.7.2"
ROUTER: Final = "192.168.7.1"
HOME_V6: Final = "2a03::2"
_NEAR = "12.0.0.1"

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

_RULES_V6 = """
table ip6 filter {
  chain forward {
    type filter hook forward priority 0;
    iifname "wan" ct state new reject with icmpv6 type admin-prohibited;
  }
}
"""
_REJECTION = 'iifname "wan" ct state new reject with icmp type admin-prohibited'

_MAPPED = """
table inet upnp {
  chain miniupnpd { }
  chain prerouting_miniupnpd { type nat hook prerouting priority -100; policy accept; }
  chain postrouting_miniupnpd { type nat hook postrouting priority 100; policy accept; }
}
"""
_DAEMON = """
ext_ifname=wan
listening_ip=lan
ipv6_disable=yes
secure_mode=yes
uuid=e96f1ff8-6f38-46cd-91f4-a32b924ea90f
upnp_table_name=upnp
upnp_nat_table_name=upnp
allow 1024-65535 192.168.7.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
_LISTENING = {"upnp": "HTTP listening on port", "natpmp": "Listening for NAT-PMP/PCP"}


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

    def reject(self) -> None:
        """Say so to whoever is outside and dials what is not mapped, in place of silence."""
        run(*self.inside, nft(), f"insert rule ip filter input {_REJECTION}")

    def turn_around(self, host: str, port: int) -> None:
        """Forward what the home, and nobody outside, sends to a public address back to it."""
        rule = f'iifname "lan" ip daddr {host} tcp dport {port} dnat to {HOME}:{port}'
        run(*self.inside, nft(), f"add rule ip nat in {rule}")
        run(*self.inside, nft(), f'add rule ip nat out oifname "lan" ip daddr {HOME} masquerade')

    def have_ipv6(self) -> None:
        """Connect the home by IPv6 as well; whoever dials it from outside is rejected."""
        run("ip", "route", "add", "local", "2a01::/16", "dev", "lo")
        run("ip", "address", "add", "2a02::1/64", "dev", "near", "nodad")
        run(*self.inside, "ip", "address", "add", "2a02::2/64", "dev", "wan", "nodad")
        run(*self.inside, "ip", "address", "add", "2a03::1/64", "dev", "lan", "nodad")
        run(*self.behind, "ip", "address", "add", f"{HOME_V6}/64", "dev", "eth0", "nodad")
        run(*self.inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        run("ip", "route", "add", "2a03::/64", "via", "2a02::2")
        run(*self.inside, "ip", "route", "add", "2a01::/16", "via", "2a02::1")
        run(*self.behind, "ip", "route", "add", "default", "via", "2a03::1")
        run(*self.inside, nft(), _RULES_V6)

    def admit_ipv6(self, port: int) -> None:
        """Let whoever is outside dial a TCP port of the home by IPv6."""
        run(*self.inside, nft(), f'insert rule ip6 filter forward iifname "wan" tcp dport {port} accept')

    def mapped(self) -> str:
        """What its daemon maps, as the rules show it."""
        return run(*self.inside, nft(), "list", "table", "inet", "upnp")

    @contextlib.contextmanager
    def serving(self, *speaks: str) -> Iterator[list[str]]:
        """Whoever is at home may map ports meanwhile, at Debian's miniupnpd; all mappings are gone after that.

        Args:
            speaks: `upnp`, `natpmp` or both; the second is PCP as well.

        Yields:
            What it says of each request that it gets, as it comes.

        """
        run(*self.inside, nft(), _MAPPED)
        switches = [f"enable_{way}={'yes' if way in speaks else 'no'}" for way in _LISTENING]
        with tempfile.TemporaryDirectory() as name:
            conf = Path(name, "miniupnpd.conf")
            conf.write_text("\n".join([*switches, _DAEMON]))
            command = [*self.inside, _miniupnpd(), "-d", "-f", str(conf), "-P", f"{name}/pid"]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as daemon:
                assert daemon.stderr is not None
                said: list[str] = []
                try:
                    _read_until(daemon.stderr, said, {_LISTENING[way] for way in speaks})
                    reader = threading.Thread(target=said.extend, args=(daemon.stderr,))
                    reader.start()
                    yield said
                finally:
                    daemon.kill()
                reader.join()
        run(*self.inside, nft(), "delete table inet upnp")


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
        run(*made.inside, "ip", "address", "add", f"{ROUTER}/24", "dev", "lan")
        run(*made.inside, "ip", "link", "set", "lan", "up")
        run(*made.behind, "ip", "address", "add", f"{HOME}/24", "dev", "eth0")
        run(*made.behind, "ip", "link", "set", "eth0", "up")
        run(*made.behind, "ip", "route", "add", "default", "via", ROUTER)
        # The files there are those of the network of whoever writes.
        run(*made.inside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        run(*made.inside, nft(), _RULES)
        yield made


def _enter(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


def nft() -> str:
    """Where the command is; Debian keeps it off the path of ordinary users."""
    return _command("nft")


def _miniupnpd() -> str:
    return _command("miniupnpd")


def _command(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    assert found is not None, f"the command {name} is missing: make debian-packages"
    return found


def _read_until(lines: Iterable[str], said: list[str], wanted: set[str]) -> None:
    for line in lines:
        said.append(line)
        wanted -= {one for one in wanted if one in line}
        if not wanted:
            return
    pytest.fail("".join(said))
