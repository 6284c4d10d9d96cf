"""What a process did with its sockets and its write-ahead log, in order, from the output of `strace -f -yy`.

The order of the lines is the order of events: a call that others overlap is printed as two lines, where it began and
where it ended; any other began and ended at its line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Iterable


TRACED = "read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync"
_READS = frozenset({"read", "recvfrom", "recvmsg", "readv"})
_WRITES = frozenset({"write", "writev", "sendto", "sendmsg"})
_SYNCS = frozenset({"fsync", "fdatasync"})

_BEGUN = re.compile(r"^(?P<pid>\d+) +(?:[\d.]+ )?(?P<name>\w+)\(\d+<(?P<file>(?:TCP\w*:\[[^\]]*\]|[^>]*))>")
_RESUMED = re.compile(r"^(?P<pid>\d+) +(?:[\d.]+ )?<\.\.\. (?P<name>\w+) resumed>")
_RESULT = re.compile(r"\) += (?P<result>-?\d+)[^=]*$")


class Call(NamedTuple):
    """One system call.

    Attributes:
        name: Of the call.
        file: Path, or `TCP:[own->peer]`.
        result: What it returned.
        began: Its place among all lines.
        ended: Likewise; the same line if nothing overlapped it.

    """

    name: str
    file: str
    result: int
    began: int
    ended: int


def parse(lines: Iterable[str]) -> list[Call]:
    """Calls on sockets and files that returned, in the order in which they ended."""
    calls: list[Call] = []
    begun: dict[str, tuple[str, str, int]] = {}
    for number, line in enumerate(lines):
        start, resumed, result = _BEGUN.match(line), _RESUMED.match(line), _RESULT.search(line)
        if start is not None:
            begun[start["pid"]] = (start["name"], start["file"], number)
        match = start or resumed
        if result is not None and match is not None and match["pid"] in begun:
            name, file, began = begun.pop(match["pid"])
            calls.append(Call(name, file, int(result["result"]), began, number))
    return calls


@dataclass(frozen=True, slots=True)
class Answered:
    """A large request that came in over a connection, and the first bytes that left on it after that.

    Attributes:
        connection: `TCP:[own->peer]`.
        requested: Line at which the last piece of the request had been read.
        answered: Line at which sending the answer began.
        commits: How many transactions were written to the log and reached the disk in between, from the first byte to
            the end of the sync.

    """

    connection: str
    requested: int
    answered: int
    commits: int


def answers_of(
    calls: list[Call], request_bytes_min: int, log_name: str, answer_bytes_max: int | None = None
) -> list[Answered]:
    """The answers to requests of at least so many bytes, on connections with one request at a time.

    Args:
        calls: As `parse` returns them.
        request_bytes_min: Smaller ones are left out; whatever a connection says before is part of its handshake.
        log_name: How the path of the write-ahead log ends.
        answer_bytes_max: What is sent in larger pieces is no answer.

    """
    commits = commits_of(calls, log_name)
    found: list[Answered] = []
    read: dict[str, tuple[int, int]] = {}
    for call in sorted(calls, key=lambda c: c.began if c.name in _WRITES else c.ended):
        if not call.file.startswith("TCP") or call.result <= 0:
            continue
        size, requested = read.get(call.file, (0, 0))
        if call.name in _READS:
            read[call.file] = (size + call.result, call.ended)
        elif call.name in _WRITES and (answer_bytes_max is None or call.result <= answer_bytes_max):
            if size >= request_bytes_min:
                between = sum(1 for began, ended in commits if began > requested and ended < call.began)
                found.append(Answered(call.file, requested, call.began, between))
            read[call.file] = (0, 0)
    return found


def commits_of(calls: list[Call], log_name: str) -> list[tuple[int, int]]:
    """Of each transaction in the log: the line where its first write began, and where its sync ended."""
    found: list[tuple[int, int]] = []
    first: int | None = None
    for call in calls:
        if not call.file.endswith(log_name):
            continue
        if call.name == "pwrite64" and first is None:
            first = call.began
        elif call.name in _SYNCS and call.result == 0 and first is not None:
            found.append((first, call.ended))
            first = None
    return found
