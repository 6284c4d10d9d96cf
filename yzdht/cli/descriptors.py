"""What a process may open: the descriptors 0, 1 and 2 if its parent closed some of them, and how many in all."""

from __future__ import annotations

import contextlib
import errno
import os


FILES_BESIDE_CONNECTIONS = 128
"""What a node has open but for its connections: its database, its sockets, its log."""

_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)


def fill_standard_descriptors() -> None:
    """Open the null device on those of 0, 1 and 2 that are closed, before a file, a socket or a loop lands there.

    The wrong way round, so that reading a closed stdin and writing a closed stdout still fail.
    """
    for number, mode in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free number, which is this one


def files_for(sessions_max: int) -> int:
    """How many files a node may come to have open at once.

    Args:
        sessions_max: Its sessions; it has more connections than that, those that are no session yet.

    """
    from yzdht.limits import HTTP_CONNECTIONS_MAX, OPENINGS_MAX  # noqa: PLC0415 - loads the library
    from yzdht.sessions.admission import SessionBounds  # noqa: PLC0415 - as above

    links = SessionBounds(sessions_max).links_max
    return links + OPENINGS_MAX + HTTP_CONNECTIONS_MAX + FILES_BESIDE_CONNECTIONS


def can_open() -> bool:
    """Whether this process may open one more file, or take one more connection."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True


def allow_files(wanted: int) -> int:
    """Let this process have so many files and connections open, or as many as the system lets it.

    The usual limit of 1,024 is one that a process may raise by itself, up to a second one that it may not.

    Args:
        wanted: How many; a limit that is higher stays.

    Returns:
        How many it may have; no fewer than `wanted` where nobody tells.

    """
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(ValueError, OSError):  # forbidden all the same: it stays as it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        return most
    return soft
