from __future__ import annotations

from hypothesis import given, settings, strategies as st

from tests.rpc.pair import (
    TARGET,
    Puppet,
    at,
    request_of,
)
from yzdht.limits import (
    REQUESTS_OPEN_MAX,
)
from yzdht.rpc.session import Answered, Ended, Event, Pushed, Requested
from yzdht.wire.frame import RecordType
from yzdht.wire.rpc import (
    FindNode,
    Method,
    Status,
    decode_response,
    encode_response,
)


KINDS = st.sampled_from([t for t in RecordType if t is not RecordType.KEY_UPDATE])
SMALL = st.integers(0, 3)
REQUEST_BYTES = st.builds(
    request_of, SMALL, st.sampled_from([*Method, 0]), st.sampled_from((b"\x90", b"", b"\x91\x01"))
)
RESPONSE_BYTES = st.builds(
    encode_response, SMALL, st.sampled_from([*Status, 1]), st.sampled_from((b"\x90", b"", b"\x91\x01"))
)
SAYINGS = st.lists(
    st.one_of(
        REQUEST_BYTES.map(lambda data: data + b"\x10"),
        RESPONSE_BYTES.map(lambda data: data + b"\x11"),
        st.builds(lambda data, kind: data + bytes((kind,)), st.binary(max_size=70), KINDS),
        st.builds(lambda data, kind: data + bytes((kind | 0x80,)), st.binary(max_size=70), KINDS),
        st.binary(max_size=30),
    ),
    max_size=20,
)


@settings(max_examples=150)
@given(sayings=SAYINGS, is_initiator=st.booleans())
def test_whatever_a_peer_says_the_session_holds_its_bounds(
    *, sayings: list[bytes], is_initiator: bool
) -> None:
    puppet = Puppet(is_initiator=is_initiator)
    session = puppet.session
    for call in range(3):
        session.call(call, Method.FIND_NODE, FindNode(TARGET), 5.0, at(0))
    events: list[Event] = []
    for plaintext in sayings:
        puppet.say_raw(plaintext)
        events += puppet.events()
        assert session.requests_open <= REQUESTS_OPEN_MAX
    session.on_channel_closed("over")
    events += puppet.events()

    assert sorted(event.call for event in events if isinstance(event, Answered)) == [0, 1, 2]
    assert [isinstance(event, Ended) for event in events].index(True) == len(events) - 1
    for event in events[:-1]:
        assert isinstance(event, Answered | Requested | Pushed)


def test_what_is_answered_to_whom_is_read_by_the_other_end() -> None:
    """Every answer that a session makes by itself is a response of section 5."""
    puppet = Puppet()
    for number, (method, body) in enumerate([(0x99, b""), (Method.PING, b""), (Method.STORE, b"\x90")]):
        puppet.say(RecordType.REQUEST, request_of(number, method, body))

    answers = [decode_response(data) for _, data, _ in puppet.hears()]
    assert answers == [(0, 101, b"\x90"), (1, 100, b"\x90"), (2, 100, b"\x90")]
