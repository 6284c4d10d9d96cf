"""What a router may say in UPnP, and what of it is taken."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from tests.igd import SERVICE, soap
from yzdht.errors import WireError
from yzdht.limits import UPNP_SERVICES_MAX, UPNP_XML_BYTES_MAX
from yzdht.upnp_messages import (
    Forwarded,
    Page,
    Reply,
    Service,
    has_outside,
    read_description,
    read_forwarded,
    read_location,
    read_page,
    read_reply,
    request,
    search_request,
)


ROUTER = "192.168.7.1"
AT = Page(5_000, "/xml/root.xml")


def answer(location: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nST: x\r\nLocation: {location}\r\n\r\n".encode()


def description(*services: tuple[str, str], more: str = "") -> bytes:
    told = "".join(
        f"<service><serviceType>{kind}</serviceType><controlURL>{url}</controlURL></service>"
        for kind, url in services
    )
    return f'<?xml version="1.0"?><root xmlns="urn:x">{more}<device>{told}</device></root>'.encode()


def test_the_answer_to_a_search_says_where_the_description_is() -> None:
    assert read_location(answer("http://192.168.7.1:5000/rootDesc.xml"), ROUTER) == Page(
        5_000, "/rootDesc.xml"
    )
    assert read_location(answer("http://192.168.7.1"), ROUTER) == Page(80, "/")
    assert read_location(answer("http://192.168.7.1:81/a?b=c"), ROUTER) == Page(81, "/a?b=c")


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.7.9:5000/rootDesc.xml",
        "http://example.com/rootDesc.xml",
        "http://192.168.7.1@example.com/",
        "http://user@192.168.7.1/",
        "http://192.168.7.1.example.com/",
        "https://192.168.7.1/",
        "ftp://192.168.7.1/",
        "file:///etc/passwd",
        "http://192.168.7.1:0/",
        "http://192.168.7.1:99999/",
        "http://192.168.7.1:x/",
        "http://[::1/",
        "http://192.168.7.1/a b",
        "http://192.168.7.1/\x7f",
        "http://192.168.7.1/" + "a" * 600,
        "",
    ],
)
def test_a_url_that_is_not_at_the_router_is_refused(url: str) -> None:
    with pytest.raises(WireError):
        read_location(answer(url), ROUTER)


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 404 No\r\nLocation: http://192.168.7.1/\r\n", b"NOTIFY * HTTP/1.1\r\n"]
)
def test_something_else_than_an_answer_to_a_search_is_refused(said: bytes) -> None:
    with pytest.raises(WireError):
        read_location(said, ROUTER)


def test_urls_of_the_description_begin_where_it_is() -> None:
    assert read_page("/ctl/IPConn", ROUTER, AT) == Page(5_000, "/ctl/IPConn")
    assert read_page("ctl", ROUTER, AT) == Page(5_000, "/xml/ctl")
    assert read_page("http://192.168.7.1:81/ctl", ROUTER, AT) == Page(81, "/ctl")
    with pytest.raises(WireError):
        read_page("//example.com/ctl", ROUTER, AT)


def test_of_the_services_those_that_map_ports_are_found() -> None:
    other = "urn:schemas-upnp-org:service:Layer3Forwarding:1"
    raw = description((other, "/l3"), (SERVICE, "/ip"))

    assert read_description(raw, ROUTER, AT) == [Service(SERVICE, Page(5_000, "/ip"))]
    based = description((SERVICE, "ip"), more="<URLBase>http://192.168.7.1:99/b/</URLBase>")
    assert read_description(based, ROUTER, AT) == [Service(SERVICE, Page(99, "/b/ip"))]


def test_a_service_without_its_url_takes_none_of_the_one_before() -> None:
    other = "<service><controlURL>/other</controlURL></service>"
    nameless = f"<service><serviceType>{SERVICE}</serviceType></service>"

    with pytest.raises(WireError):
        read_description(description(more=other + nameless), ROUTER, AT)


def test_a_service_of_somebody_else_is_left_out_and_the_others_are_kept() -> None:
    raw = description((SERVICE, "/ip"), (SERVICE, "http://192.168.7.9/ppp"), (SERVICE, "http://[::1/"))

    assert read_description(raw, ROUTER, AT) == [Service(SERVICE, Page(5_000, "/ip"))]


def test_no_more_than_a_few_services_are_looked_at() -> None:
    raw = description(*((SERVICE, f"/{n}") for n in range(99)))

    assert len(read_description(raw, ROUTER, AT)) == UPNP_SERVICES_MAX


@pytest.mark.parametrize(
    "raw",
    [
        description((SERVICE, "http://example.com/ctl")),
        description((SERVICE, "/ip"), more="<URLBase>http://example.com/</URLBase>"),
        description(("urn:schemas-upnp-org:service:Other:1", "/ip")),
        b"<!DOCTYPE r>" + description((SERVICE, "/ip")).partition(b"?>")[2],
        b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><root>&b;</root>',
        b'<!DOCTYPE r SYSTEM "http://example.com/x.dtd"><root/>',
        description((SERVICE, "/ip"))[:-1],
        description((SERVICE, "/ip")) + b"<",
        b"<root>&undefined;</root>",
        b"\xff\xfe<root/>",
        b"",
        b"<a>" * 20_000,
        description((SERVICE, "/ip"), more=f"<x>{'x' * UPNP_XML_BYTES_MAX}</x>"),
    ],
)
def test_a_description_that_is_hostile_or_broken_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        read_description(raw, ROUTER, AT)


def test_calls_are_those_of_the_standard() -> None:
    headers, body = request(SERVICE, "DeletePortMapping", {"NewRemoteHost": "", "NewExternalPort": 8_083})

    assert headers["SOAPAction"] == f'"{SERVICE}#DeletePortMapping"'
    assert b"<NewRemoteHost></NewRemoteHost><NewExternalPort>8083</NewExternalPort>" in body
    assert search_request().endswith(b"\r\n\r\n")


def test_an_answer_says_its_values_or_why_it_refuses() -> None:
    done = soap(
        "<u:R><NewInternalPort>8083</NewInternalPort><NewInternalClient>10.0.0.2</NewInternalClient></u:R>"
    )
    reply = read_reply(200, done.encode())
    assert reply.fault == 0
    assert read_forwarded(reply.said) == Forwarded("10.0.0.2", 8_083)
    refused = soap("<s:Fault><detail><errorCode>718</errorCode></detail></s:Fault>").encode()
    assert read_reply(500, refused).fault == 718


@pytest.mark.parametrize(
    ("status", "inside"),
    [(404, ""), (500, ""), (500, "<errorCode>x</errorCode>"), (200, "<errorCode>0</errorCode>"),
     (500, f"<errorCode>{'9' * 99}</errorCode>"), (302, "<errorCode>718</errorCode>")],
)  # fmt: skip
def test_something_else_than_an_answer_to_a_call_is_refused(status: int, inside: str) -> None:
    with pytest.raises(WireError):
        read_reply(status, soap(inside).encode())


def test_a_port_that_is_forwarded_to_nonsense_is_forwarded_to_somebody_else() -> None:
    assert read_forwarded({}) == Forwarded("", 0)
    assert read_forwarded({"NewInternalPort": "²"}) == Forwarded("", 0)


def test_a_connection_without_an_address_is_down() -> None:
    assert has_outside({"NewExternalIPAddress": "12.0.0.2"})
    for text in ("0.0.0.0", "", "none", "::1"):
        assert not has_outside({"NewExternalIPAddress": text})


@given(st.binary(max_size=200))
def test_nothing_but_the_documented_error_comes_of_any_bytes(raw: bytes) -> None:
    for read in (
        lambda: read_location(b"HTTP/1.1 200 OK\r\nLocation:" + raw, ROUTER),
        lambda: read_description(raw, ROUTER, AT),
        lambda: read_reply(200, raw),
    ):
        with suppress(WireError):
            assert isinstance(read(), Page | list | Reply)


@given(st.text(max_size=60))
def test_a_url_leads_to_the_router_or_nowhere(text: str) -> None:
    with suppress(WireError):
        page = read_page(text, ROUTER, AT)
        assert page.path.startswith("/")
        assert 0 < page.port < 65_536
        assert not set(page.path) & set(" \r\n")
