"""What a router says in UPnP: where it is, its description, its answers; the first byte says which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.engine import run
from yzdht.errors import WireError
from yzdht.limits import UPNP_SERVICES_MAX
from yzdht.upnp_messages import Page, read_description, read_forwarded, read_location, read_reply


if TYPE_CHECKING:
    from collections.abc import Iterator


DECODERS = (
    "yzdht.upnp_messages.read_location",
    "yzdht.upnp_messages.read_page",
    "yzdht.upnp_messages.read_description",
    "yzdht.upnp_messages.read_reply",
    "yzdht.upnp_messages.read_forwarded",
)
ROUTER = "192.168.7.1"
AT = Page(5_000, "/root.xml")
SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"


def seeds() -> Iterator[bytes]:
    yield b"\0HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: http://192.168.7.1:5000/root.xml\r\n\r\n"
    service = f"<service><serviceType>{SERVICE}</serviceType><controlURL>/ctl</controlURL></service>"
    yield f"\1<root><URLBase>http://192.168.7.1:81/</URLBase>{service}</root>".encode()
    yield b'\1<!DOCTYPE r [<!ENTITY a "aaaa">]><root>&a;</root>'
    values = "<NewInternalPort>8083</NewInternalPort><NewInternalClient>192.168.7.2</NewInternalClient>"
    yield f'\2<s:Envelope xmlns:s="s"><s:Body>{values}</s:Body></s:Envelope>'.encode()
    yield b"\3<s:Fault><errorCode>718</errorCode></s:Fault>"


def one(data: bytes) -> None:
    kind, said = data[:1], data[1:]
    try:
        if kind == b"\0":
            check(read_location(said, ROUTER))
        elif kind == b"\1":
            services = read_description(said, ROUTER, AT)
            assert 0 < len(services) <= UPNP_SERVICES_MAX
            for service in services:
                check(service.page)
        else:
            reply = read_reply(200 if kind == b"\2" else 500, said)
            assert 0 <= reply.fault < 10**10
            assert read_forwarded(reply.said).port >= 0
    except WireError:
        return


def check(page: Page) -> None:
    assert 0 < page.port <= 65_535
    assert page.path.startswith("/")
    assert page.path.isprintable()


if __name__ == "__main__":
    run(one, seeds())
