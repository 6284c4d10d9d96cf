"""The messages of UPnP with which a router is asked to forward a port: bytes and values, no sockets.

UPnP Device Architecture 1.1 (search, description, control) and WANIPConnection 1 and 2. All of it comes from whoever
answers at the router's address, so it is bounded in length before it gets here, holds no DTD and hence no entities, and
an address in it counts only if it is at the router itself: of a URL only port and path are kept.
"""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn
from urllib.parse import urljoin, urlsplit
from xml.parsers import expat

from yzdht.errors import WireError
from yzdht.limits import UPNP_SERVICES_MAX, UPNP_XML_BYTES_MAX, URL_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


SSDP_GROUP: Final = "239.255.255.250"

NO_SUCH_ENTRY: Final = 714
"""Of a router that forwards no such port."""
CONFLICT: Final = 718
"""Of a router that forwards the port to somebody else."""
PERMANENT_ONLY: Final = 725
"""Of a router that forgets no mapping by itself."""

_SEARCH = (
    b"M-SEARCH * HTTP/1.1\r\n"
    b"HOST: 239.255.255.250:1900\r\n"
    b'MAN: "ssdp:discover"\r\n'
    b"MX: 1\r\n"
    b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"\r\n"
)
_CONNECTIONS = tuple(
    f"urn:schemas-upnp-org:service:{name}"
    for name in ("WANIPConnection:1", "WANIPConnection:2", "WANPPPConnection:1")
)
_HTTP_PORT = 80
_ENVELOPE = (
    '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
    ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:{action} xmlns:u="{service}">{values}</u:{action}></s:Body></s:Envelope>\r\n'
)
_NUMBER_DIGITS_MAX = 10
_OK, _FAULT = 200, 500


class Page(NamedTuple):
    """Something that a router serves by HTTP.

    Attributes:
        port: There; the host is the router's, whatever it says.
        path: With its query, beginning with a slash.

    """

    port: int
    path: str


class Service(NamedTuple):
    """What of a router maps ports.

    Attributes:
        type: One of the three that do.
        page: Where it is asked.

    """

    type: str
    page: Page


class Forwarded(NamedTuple):
    """To whom a port is forwarded.

    Attributes:
        host: Inside.
        port: There.

    """

    host: str
    port: int


# Finding the router


def search_request() -> bytes:
    """A search for Internet gateways; those that answer do so within a second."""
    return _SEARCH


def read_location(answer: bytes, router: str) -> Page:
    """Where the description is, of the answer to a search.

    Raises:
        WireError: It is no such answer, or the description is not at the router.

    """
    head, *lines = answer.split(b"\r\n")
    if not head.startswith(b"HTTP/1.") or head.split(b" ")[1:2] != [b"200"]:
        raise WireError("the router answers a search with something else")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"location":
            return read_page(value.strip().decode("ascii", "replace"), router, None)
    raise WireError("the router does not say where its description is")


def read_page(url: str, router: str, base: Page | None) -> Page:
    """A URL that a router named.

    Args:
        url: Absolute, or relative to `base`.
        router: The only host that counts, an IPv4 literal.
        base: Where the URL stood.

    Raises:
        WireError: It is no URL, or leads elsewhere.

    """
    if len(url) > URL_BYTES_MAX or not url.isascii() or not url.isprintable() or set(url) & set(' \\"<>'):
        raise WireError("the router names a URL that is none")
    try:
        parts = urlsplit(url if base is None else urljoin(f"http://{router}:{base.port}{base.path}", url))
        port = parts.port if parts.port is not None else _HTTP_PORT
    except ValueError:
        raise WireError("the router names a URL that is none") from None
    if parts.scheme != "http" or "@" in parts.netloc or parts.hostname != router or not port:
        raise WireError("the router names a URL of somebody else")
    path = parts.path if parts.path.startswith("/") else f"/{parts.path}"
    return Page(port, f"{path}?{parts.query}" if parts.query else path)


def read_description(xml: bytes, router: str, at: Page) -> list[Service]:
    """The services of a router that map ports, UPNP_SERVICES_MAX at most; a URL of somebody else is left out.

    Raises:
        WireError: This is no description, its base is somebody else's, or no service is there.

    """
    found: list[Service] = []
    known: dict[str, str] = {}
    base = at
    for name, text in _leaves(xml):
        if name == "URLBase" and text:
            base = read_page(text, router, at)
        elif name != "service":
            known[name] = text
        else:
            kind, url = known.get("serviceType"), known.get("controlURL")
            if kind in _CONNECTIONS and url:
                with contextlib.suppress(WireError):  # another of its services may be there
                    found.append(Service(kind, read_page(url, router, base)))
            known = {}
    if not found:
        raise WireError("the router has no service of UPnP that maps ports")
    return found[:UPNP_SERVICES_MAX]


# Asking it


def request(service: str, action: str, values: Mapping[str, str | int]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a call; the values are our own and hold nothing that XML would have to escape."""
    told = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    body = _ENVELOPE.format(action=action, service=service, values=told).encode()
    return {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": f'"{service}#{action}"'}, body


class Reply(NamedTuple):
    """What a call came to.

    Attributes:
        fault: Why the router refused; 0 if it did not.
        said: What it answered, by name.

    """

    fault: int
    said: Mapping[str, str]


def read_reply(status: int, xml: bytes) -> Reply:
    """What a call came to.

    Raises:
        WireError: This is no answer to a call.

    """
    said = dict(reversed(_leaves(xml)))  # of two with one name the first
    if status == _OK and "errorCode" not in said:
        return Reply(0, said)
    fault = _number(said.get("errorCode", ""))
    if status not in (_OK, _FAULT) or not fault:
        raise WireError(f"the router maps no port: HTTP status {status}")
    return Reply(fault, said)


def read_forwarded(said: Mapping[str, str]) -> Forwarded:
    """To whom a port is forwarded, of the answer to GetSpecificPortMappingEntry; port 0 if that is not said in digits."""
    return Forwarded(said.get("NewInternalClient", ""), _number(said.get("NewInternalPort", "")) or 0)


def has_outside(said: Mapping[str, str]) -> bool:
    """Whether the answer to GetExternalIPAddress holds an address: a connection that is down has none."""
    try:
        return not IPv4Address(said.get("NewExternalIPAddress", "")).is_unspecified
    except ValueError:
        return False


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS_MAX
    return int(text) if is_number else None


def _leaves(xml: bytes) -> list[tuple[str, str]]:
    """Every element in the order in which they end: its name without prefix, and the text behind its last child.

    Raises:
        WireError: It is too long, is not well-formed, or has a DTD: nothing in UPnP has, and entities begin there.

    """
    if len(xml) > UPNP_XML_BYTES_MAX:
        raise WireError("the router's answer is too long")
    found: list[tuple[str, str]] = []
    text: list[str] = []

    def begin(_name: str, _attributes: Iterable[str]) -> None:
        text.clear()

    def end(name: str) -> None:
        found.append((name.rpartition(":")[2], "".join(text).strip()))
        text.clear()

    def refuse(*_: object) -> NoReturn:
        raise WireError("the router's answer declares entities")

    parser = expat.ParserCreate("utf-8")  # whatever it declares: no other codec is looked for
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(xml, True)  # noqa: FBT003 - how expat has it: this is all
    except expat.ExpatError as error:
        raise WireError("the router's answer is not XML") from error
    return found
