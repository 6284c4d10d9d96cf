from __future__ import annotations

import contextlib
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given, strategies as st

from tests.vectors.golden import PROTOCOL
from tests.wire.test_token import token
from yzdht.errors import BadInviteLink, UsageError
from yzdht.wire.invite_link import INVITE_LINK_BASE, decode_invite_link, encode_invite_link
from yzdht.wire.token import decode_token, encode_token


TOKEN = decode_token(bytes.fromhex(PROTOCOL["invite"]["token"]))
SECRET = bytes.fromhex(PROTOCOL["invite"]["secret16"])
NAMED = token(is_bearer=False)
LINK = encode_invite_link(TOKEN, SECRET)
NAMED_LINK = encode_invite_link(NAMED, None)
FRAGMENT = LINK.removeprefix(INVITE_LINK_BASE)
BASES = [
    "",
    INVITE_LINK_BASE,
    "https://a.example/join",
    "http://127.0.0.1:8080/",
    "http://[::1]:1/~x/join.html",
]
LAST_OF_TOKEN = LINK.index("&") - 1


def test_a_link_is_a_token_and_a_secret_in_base64url() -> None:
    text = urlsafe_b64encode(encode_token(TOKEN)).decode()[:-1]

    assert f"yz-invite:#t={text}&s=K7gNU3sdo-OL0wNhqoVWhg" == LINK
    assert len(text) == 235
    assert len(LINK) == 273


@pytest.mark.parametrize("base", BASES)
def test_links_are_read_whatever_page_they_lead_to(base: str) -> None:
    bearer = decode_invite_link(encode_invite_link(TOKEN, SECRET, base))
    named = decode_invite_link(encode_invite_link(NAMED, None, base))

    assert (bearer.token, bearer.secret) == (TOKEN, SECRET)
    assert (named.token, named.secret) == (NAMED, None)


def test_a_web_page_and_the_command_line_take_the_same_fragment() -> None:
    assert decode_invite_link(FRAGMENT) == decode_invite_link("https://join.example" + FRAGMENT)


@given(st.integers(0, len(LINK) - 1))
def test_a_link_that_is_cut_is_refused_with_a_hint(size: int) -> None:
    with pytest.raises(BadInviteLink) as refused:
        decode_invite_link(LINK[:size])

    if size > LINK.index("#t=") + 2:
        assert "cut short" in str(refused.value)
        assert "quotes" in refused.value.hint


def test_what_a_shell_leaves_of_a_link_is_called_cut() -> None:
    for left in (
        LINK.partition("&")[0],
        LINK.partition("&")[0] + "&",
        LINK[:LAST_OF_TOKEN] + "&s=" + "A" * 22,
    ):
        with pytest.raises(BadInviteLink, match="cut short"):
            decode_invite_link(left)


HOSTILE = {
    "nothing": "",
    "no mark": LINK.replace("#", ""),
    "two marks": LINK.replace("#", "##"),
    "an unknown part": LINK + "&x=1",
    "an unknown part first": LINK.replace("#t=", "#x=1&t="),
    "the secret twice": LINK + "&s=" + LINK[-22:],
    "the other order": f"#s={LINK[-22:]}&t={FRAGMENT[3:238]}",
    "a capital": LINK.replace("#t=", "#T="),
    "a blank": LINK + " ",
    "a new line": LINK + "\n",
    "padding": LINK.replace("&", "=&"),
    "padding of the secret": LINK + "==",
    "percent signs": LINK.replace("#t=", "#t%3D"),
    "the usual base64": LINK.replace("-", "+"),
    "digits of another script": LINK[:-1] + "\u0663",
    "stray bits of the token": LINK[:LAST_OF_TOKEN] + "x" + LINK[LAST_OF_TOKEN + 1 :],
    "stray bits of the secret": LINK[:-1] + "h",
    "one character more": LINK + "A",
    "another version": LINK.replace("#t=-w", "#t=-g"),
    "a secret that nobody asks for": NAMED_LINK + "&s=" + LINK[-22:],
    "an address with a question": "https://a.example/?q" + FRAGMENT,
    "a script": "javascript:alert(1)" + FRAGMENT,
    "another scheme": "yz:" + FRAGMENT,
    "an address with a blank": "https://a.example/ x" + FRAGMENT,
    "a tail behind the scheme": "yz-invite://host" + FRAGMENT,
    "a long address": "https://" + "a" * 513 + FRAGMENT,
    "a very long text": LINK * 99,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_every_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(BadInviteLink) as refused:
        decode_invite_link(text)

    assert refused.value.hint
    assert LINK[-22:] not in str(refused.value) + refused.value.hint


@given(st.text(max_size=300) | st.text("tsAQ-_&=#", max_size=300).map(lambda tail: "#t=" + tail))
def test_any_text_is_refused_or_means_one_thing(text: str) -> None:
    with contextlib.suppress(BadInviteLink):
        link = decode_invite_link(text)
        assert encode_invite_link(link.token, link.secret, text.partition("#")[0]) == text


@given(st.integers(0, len(LINK) - 1), st.characters())
def test_one_changed_character_is_refused_or_means_something_else(at: int, other: str) -> None:
    text = LINK[:at] + other + LINK[at + 1 :]
    with contextlib.suppress(BadInviteLink):
        link = decode_invite_link(text)
        assert (link.token, link.secret) != (TOKEN, SECRET) or text == LINK
        assert encode_invite_link(link.token, link.secret) == text


@pytest.mark.parametrize(
    "base", ["https://a.example/#", "https://a/?t", "ftp://a", "a.example", "yz-invite:x", "https://"]
)
def test_a_base_that_would_not_be_read_back_is_the_callers_mistake(base: str) -> None:
    with pytest.raises(UsageError):
        encode_invite_link(TOKEN, SECRET, base)


def test_the_secret_goes_with_the_token() -> None:
    with pytest.raises(UsageError):
        encode_invite_link(TOKEN, None)
    with pytest.raises(UsageError):
        encode_invite_link(NAMED, SECRET)
