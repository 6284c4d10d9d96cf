from __future__ import annotations

from typing import get_args

import pytest

from yzdht.ids import NodeId, PublicKey, SessionId
from yzdht.rpc.engine import (
    Answer,
    Call,
    Cancel,
    Drop,
    Failed,
    FailReason,
    Find,
    Keep,
    Outgoing,
    Peer,
    Persist,
    Push,
    Reply,
)
from yzdht.wire.frame import Caps
from yzdht.wire.rpc import Empty, Status


def test_outgoing_is_the_closed_union_of_the_house() -> None:
    assert set(get_args(Outgoing)) == {Call, Cancel, Reply, Push, Persist, Keep, Find, Drop}


def test_failures_have_the_names_that_counters_use() -> None:
    names = {reason.value for reason in FailReason}

    assert names == {"unreachable", "timeout", "closed", "wrong_id", "busy", "garbage", "uninvited"}


def test_what_engines_are_told_cannot_be_changed() -> None:
    answer = Answer(Status.OK, Empty())

    with pytest.raises(AttributeError):
        answer.status = Status.BUSY  # type: ignore[misc]  # that is the point
    assert Failed(FailReason.BUSY) == Failed(FailReason.BUSY)


@pytest.mark.parametrize(
    ("host", "prefix", "is_proxied", "group", "has_own_part"),
    [
        ("8.8.8.8", "8.8.8.0/24", False, "8.8.8.0/24", True),
        ("8.8.8.8", "8.8.8.0/24", True, "8.8.8.8", True),
        ("127.0.0.1", None, True, "127.0.0.1", True),
        ("127.0.0.1", None, False, "127.0.0.1", False),
    ],
)
def test_a_peer_shares_with_its_prefix_or_address_and_has_a_part_of_its_own_unless_it_may_be_the_only_one(
    host: str, prefix: str | None, *, is_proxied: bool, group: str, has_own_part: bool
) -> None:
    who = NodeId(bytes(32)), PublicKey(bytes(33)), Caps.ALWAYS, SessionId(bytes(16))
    peer = Peer(*who, host, prefix, is_proxied)

    assert (peer.group, peer.has_own_part) == (group, has_own_part)


def test_a_peer_that_a_proxy_hides_names_nobody_near_the_proxy() -> None:
    who = NodeId(bytes(32)), PublicKey(bytes(33)), Caps.ALWAYS, SessionId(bytes(16))

    assert Peer(*who, "10.0.0.1", None, is_proxied=True).namer_host == "10.0.0.1"
    assert Peer(*who, "10.0.0.1", None, is_proxied=True, is_hidden=True).namer_host == ""
