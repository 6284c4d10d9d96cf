"""Names to addresses, in threads that nobody waits for.

A resolver may take half a minute for a name whose servers do not answer, and naming one costs a stranger nothing. The
threads in which event loops look up names are few, so that two to a dozen such names keep all others waiting; and neither
asyncio nor uvloop ends before they have. So each look-up has a daemon thread here, NAMES_LOOKED_UP_MAX at a time.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from yzdht.limits import NAMES_LOOKED_UP_MAX, NAMES_OF_HEARSAY_MAX


if TYPE_CHECKING:
    from collections.abc import Callable


class TooManyNames(OSError):
    """A name was not looked up, for lack of a place or a thread: that says nothing of the name."""


_places = threading.BoundedSemaphore(NAMES_LOOKED_UP_MAX)
_places_of_hearsay = threading.BoundedSemaphore(NAMES_OF_HEARSAY_MAX)


async def look_up(host: str, port: int, *, is_hearsay: bool = False) -> list[str]:
    """Return the IP addresses of a name, in the system's order of preference, some perhaps twice.

    Args:
        host: The name.
        port: Where it will be reached.
        is_hearsay: True for a name that strangers gave: slow ones of these leave room for the operator's own.

    Raises:
        TooManyNames: It was not looked up; an OSError as well.
        OSError: The name has none.
        UnicodeError: It cannot be a name.

    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def tell(outcome: list[str] | OSError | UnicodeError) -> None:
        if found.done():  # given up
            return
        if isinstance(outcome, list):
            found.set_result(outcome)
        else:
            found.set_exception(outcome)

    def ask() -> None:
        outcome: list[str] | OSError | UnicodeError
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            outcome = [str(sockaddr[0]) for *_, sockaddr in answers]
        except (OSError, UnicodeError) as error:
            outcome = error
        finally:
            release()
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(tell, outcome)

    release = _take_place(is_hearsay=is_hearsay)
    try:
        threading.Thread(target=ask, name="yzdht-name", daemon=True).start()
    except RuntimeError as error:  # the system has no more threads
        release()
        raise TooManyNames("there is no thread to look up a name") from error
    return await found


def is_resolver_mute(error: OSError | UnicodeError) -> bool:
    """Whether a name was not found because nobody could say: this machine's resolver, or the name's own servers."""
    return isinstance(error, socket.gaierror) and error.errno in (socket.EAI_AGAIN, socket.EAI_FAIL)


def _take_place(*, is_hearsay: bool) -> Callable[[], None]:
    if is_hearsay and not _places_of_hearsay.acquire(blocking=False):
        raise TooManyNames("too many names are being looked up")
    if not _places.acquire(blocking=False):
        if is_hearsay:
            _places_of_hearsay.release()
        raise TooManyNames("too many names are being looked up")

    def release() -> None:
        _places.release()
        if is_hearsay:
            _places_of_hearsay.release()

    return release
