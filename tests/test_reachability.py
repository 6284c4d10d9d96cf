"""The judge of reachability: what one, two or three peers say, honest or not, and what stays when nobody says anything."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.limits import DIAL_BACK_URLS_MAX, PROBERS_DENYING, REACH_KEPT_S
from yzdht.reachability import Finding, Place, Reach, Reachability, Word, places_for, why, word_of


HOME = Place("11.0.0.1", 8083)
URL = "ws://11.0.0.1:8083"
A, B, C = ("11.1.0.0/24", "11.1.0.9"), ("11.2.0.0/24", "11.2.0.9"), ("11.3.0.0/24", "11.3.0.9")
GROUPS = [A[0], B[0], C[0]]
NEIGHBOUR, OTHER_NEIGHBOUR = ("192.168.1.3", "192.168.1.3"), ("192.168.1.4", "192.168.1.4")


def say(judge: Reachability, who: tuple[str, str], word: Word, place: Place = HOME) -> None:
    judge.heard(*who, {place: word}, is_proved=word is Word.REACHED)


def judged(*said: tuple[tuple[str, str], Word], judge: Reachability | None = None) -> Reachability:
    judge = judge or Reachability()
    for who, word in said:
        say(judge, who, word)
    judge.settle([HOME], 0.0)
    return judge


def heard_enough(judge: Reachability, said: list[tuple[tuple[str, str], Word]]) -> list[bool]:
    """Whether that is so after each of them."""
    enough = []
    for who, word in said:
        say(judge, who, word)
        enough.append(judge.has_heard_enough(GROUPS))
    return enough


def seen(judge: Reachability) -> tuple[str, ...]:
    return judge.seen


def test_at_first_nothing_is_known_and_nothing_is_withdrawn() -> None:
    judge = Reachability()
    judge.settle([HOME], 0.0)

    assert judge.node is Reach.UNKNOWN
    assert judge.finding(URL) == Finding()
    assert not judge.is_withdrawn(URL)


def test_one_peer_that_came_in_shows_that_the_node_is_reached() -> None:
    judge = judged((A, Word.REACHED))

    assert judge.node is Reach.REACHABLE
    assert judge.finding(URL).reach is Reach.REACHABLE


def test_a_peer_that_says_so_and_did_not_come_in_is_not_believed() -> None:
    judge = Reachability()
    for who in (A, B, C):
        judge.heard(*who, {HOME: Word.REACHED}, is_proved=False)
    judge.settle([HOME], 0.0)

    assert judge.node is Reach.UNKNOWN
    assert judge.finding(URL).reach is Reach.UNKNOWN


def test_one_peer_that_could_not_reach_it_decides_nothing() -> None:
    judge = judged((A, Word.SILENT))

    assert judge.node is Reach.UNKNOWN
    assert not judge.is_withdrawn(URL)


def test_several_voices_of_one_network_are_one() -> None:
    assert judged((A, Word.SILENT), (A, Word.REFUSED), (A, Word.SILENT)).node is Reach.UNKNOWN


def test_two_networks_that_could_not_reach_it_withdraw_the_address() -> None:
    judge = judged((A, Word.SILENT), (B, Word.SILENT))

    assert judge.node is Reach.UNREACHABLE
    assert judge.is_withdrawn(URL)
    assert judge.finding(URL).word is Word.SILENT


def test_one_honest_peer_outweighs_all_that_deny() -> None:
    judge = judged((A, Word.SILENT), (B, Word.REFUSED), (C, Word.REACHED))

    assert judge.node is Reach.REACHABLE
    assert not judge.is_withdrawn(URL)


def test_what_the_internet_says_goes_before_what_neighbours_say() -> None:
    judge = judged((NEIGHBOUR, Word.REACHED), (A, Word.SILENT), (B, Word.SILENT))

    assert judge.node is Reach.UNREACHABLE


def test_neighbours_count_where_nobody_else_was_asked() -> None:
    assert judged((NEIGHBOUR, Word.REACHED)).node is Reach.REACHABLE
    assert judged((NEIGHBOUR, Word.SILENT), (OTHER_NEIGHBOUR, Word.SILENT)).node is Reach.UNREACHABLE
    assert judged((NEIGHBOUR, Word.REACHED), (A, Word.SILENT)).node is Reach.REACHABLE


def test_enough_was_heard_after_two_that_reached_it_or_three_that_did_not() -> None:
    judge = Reachability()
    said = [(A, Word.REACHED), (B, Word.REACHED)]
    assert heard_enough(judge, said) == [False, True]

    judge.begin()
    said = [(who, Word.SILENT) for who in (A, B, C)]
    assert heard_enough(judge, said) == [False] * (PROBERS_DENYING - 1) + [True]


def test_peers_that_dialled_nothing_say_nothing() -> None:
    judge = judged((A, Word.NOT_DIALLED), (B, Word.NOT_DIALLED), (C, Word.NOT_YOURS))

    assert judge.node is Reach.UNKNOWN
    assert not judge.is_withdrawn(URL)
    assert not judge.has_heard_enough(GROUPS)


def test_an_address_that_peers_see_elsewhere_is_tried_by_the_node_itself_before_it_is_withdrawn() -> None:
    judge = Reachability()
    say(judge, A, Word.NOT_YOURS)
    assert judge.to_try_itself([HOME], [HOME]) == []
    say(judge, B, Word.NOT_YOURS)
    assert judge.to_try_itself([HOME], [HOME]) == [HOME]

    judge.tried_itself(HOME, is_reached=True)
    judge.settle([HOME], 0.0)
    assert judge.finding(URL).reach is Reach.REACHABLE

    for who in (A, B):
        say(judge, who, Word.NOT_YOURS)
    judge.tried_itself(HOME, is_reached=False)
    judge.settle([HOME], 0.0)
    assert judge.finding(URL).word is Word.NOT_YOURS
    assert judge.is_withdrawn(URL)


def test_a_machine_that_sends_from_one_address_and_listens_at_another_is_not_unreachable() -> None:
    judge, sent_from, at_home = Reachability(), Place("11.0.0.2", 8083), Place("192.168.1.2", 8083)
    for who in (A, B, C):
        judge.heard(
            *who,
            {HOME: Word.NOT_YOURS, at_home: Word.NOT_YOURS, sent_from: Word.REFUSED},
            is_proved=False,
        )

    assert judge.to_try_itself([HOME, at_home], []) == [HOME]
    judge.tried_itself(HOME, is_reached=True)
    judge.settle([HOME, at_home, sent_from], 0.0)
    assert judge.node is Reach.UNKNOWN


def test_whom_a_stranger_dialled_is_reached_whatever_others_say() -> None:
    judge = Reachability()
    judge.came_in(*C)
    judged((A, Word.SILENT), (B, Word.SILENT), judge=judge)

    assert judge.node is Reach.REACHABLE
    assert judge.is_withdrawn(URL)


def test_a_neighbour_that_dialled_it_says_nothing_of_the_internet() -> None:
    judge = Reachability()
    judge.came_in(*NEIGHBOUR)
    judged((A, Word.SILENT), (B, Word.SILENT), judge=judge)

    assert judge.node is Reach.UNREACHABLE


def test_a_withdrawn_address_comes_back_when_it_is_reached_again() -> None:
    judge = judged((A, Word.SILENT), (B, Word.SILENT))
    judged((A, Word.REACHED), judge=judge)

    assert not judge.is_withdrawn(URL)
    assert judge.node is Reach.REACHABLE


def test_a_finding_stands_through_silent_rounds_for_a_while_and_is_unknown_then() -> None:
    judge = judged((A, Word.SILENT), (B, Word.SILENT))

    judge.settle([HOME], REACH_KEPT_S)
    assert judge.is_withdrawn(URL)
    judge.settle([HOME], REACH_KEPT_S + 1)
    assert judge.finding(URL) == Finding()


def test_what_was_found_of_an_address_that_is_no_more_is_forgotten() -> None:
    judge = judged((A, Word.SILENT), (B, Word.SILENT))
    judge.settle([], 1.0)

    assert judge.finding(URL) == Finding()


def test_where_the_node_is_seen_takes_two_networks_that_agree() -> None:
    judge = Reachability()
    for (group, _), host in ((A, "11.0.0.1"), (B, "11.0.0.2")):
        judge.saw(group, host)
    judge.settle([], 0.0)
    assert seen(judge) == ()

    for (group, _), host in ((A, "2001:db8::1"), (B, "11.0.0.2"), (C, "11.0.0.2")):
        judge.saw(group, host)
    judge.saw("11.4.0.0/24", "not an address")
    judge.settle([], 0.0)
    assert seen(judge) == ("11.0.0.2",)


def test_a_peer_has_tried_what_leads_to_where_it_sees_the_node_and_names() -> None:
    elsewhere, name = Place("11.9.0.1", 8083), Place("node.example", 443)
    ports = [Place("11.0.0.1", 9_000 + n) for n in range(DIAL_BACK_URLS_MAX)]

    assert places_for([elsewhere, name, HOME], "11.0.0.1") == [HOME, name]
    assert len(places_for([*ports, name, HOME], "11.0.0.1")) == DIAL_BACK_URLS_MAX


def test_words_of_the_wire_are_known_again_and_all_others_are_denials() -> None:
    for word in Word:
        assert word_of(word.value, is_reachable=word is Word.REACHED) is word
    assert word_of("reached", is_reachable=False) is Word.NO_NODE
    assert word_of("", is_reachable=False) is Word.NO_NODE


@pytest.mark.parametrize("word", [w for w in Word if w not in (Word.REACHED, Word.NOT_DIALLED)])
def test_whoever_is_not_reached_is_told_why_and_what_helps(word: Word) -> None:
    fact, fix = why(Finding(Reach.UNREACHABLE, word, 0.0), HOME, ["11.0.0.2"])

    assert fact
    assert "8083" in fix or "--public-address" in fix


def test_an_address_of_the_own_network_is_said_to_be_one_once_others_see_the_node_elsewhere() -> None:
    at_home = Place("192.168.1.2", 8083)

    assert "own network" in why(Finding(), at_home, ["11.0.0.1"])[0]
    assert why(Finding(), at_home, ["192.168.1.2"]) == ("", "")
    assert why(Finding(), at_home, []) == ("", "")
    assert why(Finding(), Place("node.example", 8083), ["11.0.0.1"]) == ("", "")


def test_whoever_is_reached_is_told_nothing_more() -> None:
    assert why(Finding(Reach.REACHABLE, Word.REACHED, 0.0), HOME, []) == ("", "")


def test_an_address_of_a_newer_protocol_has_no_place_and_nothing_is_known_of_it() -> None:
    assert Place.of("udp://11.0.0.1:1") is None
    assert Reachability().finding("udp://11.0.0.1:1") == Finding()


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B, C, NEIGHBOUR]), st.sampled_from(list(Word)), st.booleans()),
        max_size=12,
    )
)
def test_no_number_of_liars_can_make_a_node_believe_that_it_is_reached(
    said: list[tuple[tuple[str, str], Word, bool]],
) -> None:
    judge = Reachability()
    for who, word, _ in said:
        judge.heard(*who, {HOME: word}, is_proved=False)
    judge.settle([HOME], 0.0)

    assert judge.node is not Reach.REACHABLE
    assert judge.finding(URL).reach is not Reach.REACHABLE
