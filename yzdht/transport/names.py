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

from yzdht.limits import NAMES_LOOKED_UP_MAX


_places = threading.BoundedSemaphore(NAMES_LOOKED_UP_MAX)


async def look_up(host: str, port: int) -> list[str]:
    """Return the IP addresses of a name, in the system's order of preference, some perhaps twice.

    Raises:
        OSError: The name has none, or too many are being looked up.
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
            _places.release()
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(tell, outcome)

    if not _places.acquire(blocking=False):
        raise OSError("too many names are being looked up")
    threading.Thread(target=ask, name="yzdht-name", daemon=True).start()
    return await found
