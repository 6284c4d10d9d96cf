"""Two machines with a cable between them: two networks of this machine and a pair of veth interfaces.

The near one is that of the test's thread and of whatever it starts, the far one is held by a process that ends with the
test. Neither has a name, so that nothing is left behind even by a test that is killed: the kernel takes a network
apart with the last process in it, and the cable with the networks at its ends.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.process.internet import own_internet


if TYPE_CHECKING:
    from collections.abc import Iterator


NEAR: Final = "10.77.0.1"
FAR: Final = "10.77.0.2"
_BITS = 24
_HOLD = "ip link set lo up && echo held && exec cat"


@dataclass(frozen=True, slots=True)
class Cable:
    """What connects the near network with the far one.

    Attributes:
        beyond: What stands in front of a command that is to run in the far network.

    """

    beyond: tuple[str, ...]

    def pull(self) -> None:
        """Nothing gets through any more, and nobody is told: the near end sees a cable without a carrier."""
        run(*self.beyond, "ip", "link", "set", "far", "down")

    def plug(self) -> None:
        """Connect both again."""
        run(*self.beyond, "ip", "link", "set", "far", "up")


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """Move this thread into the near network and back; everything started there must have ended before."""
    missing = [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]
    assert not missing, f"these commands are missing: {missing}: make debian-packages"
    with own_internet(), held() as pid:
        run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(pid))
        made = Cable(("nsenter", f"--net=/proc/{pid}/ns/net"))
        run("ip", "address", "add", f"{NEAR}/{_BITS}", "dev", "near")
        run("ip", "link", "set", "near", "up")
        run(*made.beyond, "ip", "address", "add", f"{FAR}/{_BITS}", "dev", "far")
        made.plug()
        yield made


@contextlib.contextmanager
def held() -> Iterator[int]:
    """A network, and the process that holds it until its stdin ends, which it does with this process."""
    command = ["unshare", "--net", "sh", "-c", _HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n", "a network of its own cannot be made"
            yield holder.pid
        finally:
            holder.kill()


def run(*command: str) -> str:
    """Run a command that must not fail; its stdout."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout
