"""What stands before every page: who may ask, how, and what every answer says.

A node's pages are for this machine. Browsers of this machine run pages of strangers, so a page must not be readable
under a name of theirs that resolves to loopback (DNS rebinding): only `localhost`, loopback addresses and the address
that the connection came to are taken as Host. Nothing here changes anything, so requests that a stranger's page sends
blindly do no harm, and without CORS headers it reads no answer.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.responses import Response


if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_METHODS = ("GET", "HEAD")
_NOTHING_ELSE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def json_response(view: object, status: int = 200) -> Response:
    """A view as JSON, with a newline for terminals."""
    return Response(msgspec.json.encode(view) + b"\n", status, media_type="application/json")


def refusal(status: int, error: str, hint: str) -> Response:
    """An error as JSON."""
    return json_response({"error": error, "hint": hint}, status)


class Guard:
    """Passes on GET and HEAD under a name of this machine, and puts the same headers on every answer.

    Args:
        app: What answers.
        host: The host it was told to listen on.

    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "the server speaks nothing else"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Content-Security-Policy", _NOTHING_ELSE)
            await send(message)

        app = self._refuse(scope) or self._app
        await app(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        arrived_at = scope["server"][0] if scope.get("server") else ""
        if len(hosts) != 1 or not self._is_own(host_of(hosts[0]), arrived_at):
            return refusal(
                421,
                "this address serves requests to localhost only, not under that Host",
                "ask for it as http://localhost:PORT or by its IP address",
            )
        if scope["method"] not in _METHODS:
            response = refusal(405, "everything here is read with GET", "nothing can be changed over HTTP")
            response.headers["Allow"] = ", ".join(_METHODS)
            return response
        return None

    def _is_own(self, name: str, arrived_at: str) -> bool:
        if name in ("localhost", self._host):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or str(address) == arrived_at


def host_of(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets; empty if it is none."""
    if header.startswith("["):
        name, bracket, port = header[1:].partition("]")
        is_sound = bracket == "]" and (not port or (port[0] == ":" and _is_port(port[1:])))
        return name.lower() if is_sound and ":" in name else ""
    name, colon, port = header.partition(":")
    return name.lower() if not colon or _is_port(port) else ""


def _is_port(text: str) -> bool:
    return text == "" or (text.isascii() and text.isdigit())
