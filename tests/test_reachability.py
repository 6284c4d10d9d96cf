"""The judge of reachability: what one, two or three peers say, honest or not, and what stays when nobody says anything."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from yzdht.limits import DIAL_BACK_URLS_MAX, PROBERS_DENYING, REACH_KEPT_S, REACH_SECOND_LOOK_S
from yzdht.reachability import Finding, Reach, Reachability, Version, Way, Word, ways_of, why, word_of


URL = "ws://11.0.0.1:8083"
NAME = "wss://node.example:443"
HOSTS = frozenset({"11.0.0.2", "192.168.1.2"})
SIX, SEVEN = ("2a01:5::/48", "2a01:5::9"), ("2a01:6::/48", "2a01:6::9")
A, B, C = ("11.1.0.0/24", "11.1.0.9"), ("11.2.0.0/24", "11.2.0.9"), ("11.3.0.0/24", "11.3.0.9")
GROUPS = [A[0], B[0], C[0]]
NEIGHBOUR, OTHER_NEIGHBOUR = ("192.168.1.3", "192.168.1.3"), ("192.168.1.4", "192.168.1.4")


def say(judge: Reachability, who: tuple[str, str], word: Word, url: str = URL) -> None:
    judge.heard(*who, {url: word}, is_proved=word is Word.REACHED)


def judged(*said: tuple[tuple[str, str], Word], judge: Reachability | None = None) -> Reachability:
    judge = judge or Reachability()
    for who, word in said:
        say(judge, who, word)
    judge.settle([URL], 0.0)
    return judge


def heard_enough(judge: Reachability, said: list[tuple[tuple[str, str], Word]]) -> list[bool]:
    """Whether that is so after each of them."""
    enough = []
    for who, word in said:
        say(judge, who, word)
        enough.append(judge.has_heard_enough(Version.IPV4, GROUPS))
    return enough


def seen(judge: Reachability) -> tuple[str, ...]:
    return judge.seen


def test_at_first_nothing_is_known_and_nothing_is_withdrawn() -> None:
    judge = Reachability()
    judge.settle([URL], 0.0)

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
        judge.heard(*who, {URL: Word.REACHED}, is_proved=False)
    judge.settle([URL], 0.0)

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
    assert not judge.has_heard_enough(Version.IPV4, GROUPS)


def own_trials(judge: Reachability, *urls: str, typed: tuple[str, ...] = ()) -> list[str]:
    return judge.to_try_itself(urls, typed, HOSTS.__contains__)


def test_an_address_that_peers_see_elsewhere_is_tried_by_the_node_itself_before_it_is_withdrawn() -> None:
    judge = Reachability()
    say(judge, A, Word.NOT_YOURS)
    assert own_trials(judge, URL, typed=(URL,)) == []
    say(judge, B, Word.NOT_YOURS)
    assert own_trials(judge, URL, typed=(URL,)) == [URL]

    judge.tried_itself(URL, Word.REACHED)
    judge.settle([URL], 0.0)
    assert judge.finding(URL).reach is Reach.REACHABLE

    shown = []
    for _ in range(2):
        failed_dial(judge, Word.NOT_YOURS)
        shown.append((judge.is_withdrawn(URL), judge.wants_second_look))
    assert shown == [(False, True), (True, False)]
    assert judge.finding(URL).word is Word.NOT_YOURS


def failed_dial(judge: Reachability, word: Word, *, elsewhere: Word = Word.SILENT) -> None:
    """A round in which peers see the node elsewhere and try it there, and its own dial fails."""
    sent_from = "ws://11.0.0.7:8083"
    for group, host in (A, B):
        words = {URL: Word.NOT_YOURS, sent_from: elsewhere}
        judge.heard(group, host, words, is_proved=elsewhere is Word.REACHED)
    assert own_trials(judge, URL, typed=(URL,)) == [URL]
    judge.tried_itself(URL, word)
    judge.settle([URL, sent_from], 0.0)


def test_a_dial_of_the_node_itself_that_is_refused_withdraws_nothing_through_which_others_come_in() -> None:
    judge = Reachability()
    for _ in range(3):
        judge.came_in(*C)
        failed_dial(judge, Word.NOT_YOURS)

    assert not judge.is_withdrawn(URL)
    assert judge.node is Reach.REACHABLE


def test_an_address_that_the_node_cannot_dial_is_withdrawn_where_peers_reach_it_at_another() -> None:
    for word in (Word.NOT_YOURS, Word.SILENT):
        judge = Reachability()
        judge.came_in(*C)
        failed_dial(judge, word, elsewhere=Word.REACHED)
        assert judge.is_withdrawn(URL)


def test_a_router_that_turns_no_dial_around_leaves_the_address_unknown() -> None:
    judge = Reachability()
    for _ in range(2):
        failed_dial(judge, Word.SILENT)

    assert judge.finding(URL) == Finding()
    assert not judge.is_withdrawn(URL)


def test_an_address_that_a_dial_reached_again_is_in_no_doubt_any_more() -> None:
    judge = Reachability()
    for word in (Word.REACHED, Word.NOT_YOURS, Word.REACHED, Word.NOT_YOURS):
        failed_dial(judge, word)

    assert not judge.is_withdrawn(URL)


def test_a_dial_of_the_node_itself_that_says_nothing_changes_nothing() -> None:
    judge = Reachability()
    for _ in range(2):
        failed_dial(judge, Word.NOT_DIALLED)

    assert judge.finding(URL) == Finding()


@pytest.mark.parametrize("host", ["11.0.0.2", "192.168.1.2", "192.168.1.77", "127.0.0.1"])
def test_what_the_kernel_or_the_router_delivers_to_the_node_itself_is_not_tried(host: str) -> None:
    judge, url = Reachability(), f"tcp://{host}:8083"
    for who in (A, B):
        say(judge, who, Word.NOT_YOURS, url)

    assert own_trials(judge, url, typed=(url,)) == []


def test_only_what_an_operator_typed_and_names_are_tried_by_the_node_itself() -> None:
    judge = Reachability()
    for who in (A, B):
        judge.heard(*who, {URL: Word.NOT_YOURS, NAME: Word.NOT_YOURS}, is_proved=False)

    assert own_trials(judge, URL, NAME) == [NAME]


def test_a_dial_that_a_router_turned_around_proves_nothing_and_is_said() -> None:
    judge = Reachability()
    for who in (A, B):
        judge.heard(*who, {URL: Word.NOT_YOURS, "tcp://12.0.0.1:1": Word.SILENT}, is_proved=False)
    judge.tried_itself(URL, Word.TURNED_AROUND)
    judge.settle([URL, "tcp://12.0.0.1:1"], 0.0)

    assert judge.finding(URL).reach is Reach.UNKNOWN
    assert judge.node is Reach.UNREACHABLE
    assert "from this network alone" in why(judge.finding(URL), URL, ["12.0.0.1"])[0]


def test_a_machine_that_is_reached_elsewhere_than_where_it_sends_from_is_not_unreachable() -> None:
    judge, sent_from = Reachability(), "ws://11.0.0.2:8083"
    for who in (A, B, C):
        judge.heard(*who, {URL: Word.NOT_YOURS, sent_from: Word.REFUSED}, is_proved=False)

    judge.tried_itself(URL, Word.REACHED)
    judge.settle([URL, sent_from], 0.0)
    assert judge.node is Reach.UNKNOWN


def test_whom_a_stranger_dialled_is_reached_whatever_others_say() -> None:
    judge = Reachability()
    judge.came_in(*C)
    judged((A, Word.SILENT), (B, Word.SILENT), judge=judge)

    assert judge.node is Reach.REACHABLE
    assert judge.is_withdrawn(URL)


def test_whoever_was_reached_is_not_out_of_reach_before_a_second_round_says_so_a_while_later() -> None:
    judge = judged((A, Word.REACHED))
    shown = []
    for at in (100.0, 101.0, 100.0 + REACH_SECOND_LOOK_S):
        for who in (A, B, C):
            say(judge, who, Word.SILENT)
        judge.settle([URL], at)
        shown.append((judge.node, judge.wants_second_look, judge.is_denied))

    assert shown == [(Reach.REACHABLE, True, True)] * 2 + [(Reach.UNREACHABLE, False, True)]


def test_one_that_reached_it_between_two_rounds_of_denials_has_them_begin_anew() -> None:
    judge = judged((A, Word.REACHED))
    for at, word in ((100.0, Word.SILENT), (200.0, Word.REACHED), (300.0, Word.SILENT)):
        for who in (A, B, C):
            say(judge, who, word)
        judge.settle([URL], at)

    assert judge.node is Reach.REACHABLE


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

    judge.settle([URL], REACH_KEPT_S)
    assert judge.is_withdrawn(URL)
    judge.settle([URL], REACH_KEPT_S + 1)
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


def test_two_liars_do_not_move_a_node_that_is_reached_at_a_public_address_of_an_interface() -> None:
    judge, lie = Reachability(), "tcp://12.0.0.9:8083"
    for who in (A, B):
        judge.saw(who[0], "12.0.0.9")
        judge.heard(*who, {lie: Word.REACHED}, is_proved=True)
    assert not judge.has_heard_enough(Version.IPV4, GROUPS)
    judge.saw(C[0], "11.0.0.1")
    say(judge, C, Word.REACHED)
    judge.settle([URL, lie], 0.0, {"11.0.0.1"})

    assert seen(judge) == ()


def test_a_peer_has_tried_what_leads_to_where_it_sees_the_node_and_names() -> None:
    judge, elsewhere = Reachability(), "ws://11.9.0.1:8083"

    assert judge.to_try([elsewhere, NAME, URL], [], "11.0.0.1") == [NAME, URL]
    assert judge.to_try([elsewhere], ["tcp://11.0.0.1:1"], "11.0.0.1") == ["tcp://11.0.0.1:1"]


def tcp_at(*ports: int) -> list[str]:
    return [f"tcp://11.0.0.1:{port}" for port in ports]


def round_of(judge: Reachability, urls: list[str], reached: list[str]) -> list[str]:
    """Two peers try what is in turn, and reach some of it; what that was."""
    tried: list[str] = []
    for group, host in (A, B):
        tried = judge.to_try(urls, [], "11.0.0.1")
        words = {url: Word.REACHED if url in reached else Word.SILENT for url in tried}
        judge.heard(group, host, words, is_proved=True)
    judge.settle(urls, 0.0)
    return tried


def test_what_does_not_fit_is_tried_in_the_next_round_until_everything_was_and_then_begins_anew() -> None:
    judge, urls = Reachability(), tcp_at(*range(1, 11))

    rounds = [round_of(judge, urls, []) for _ in range(5)]

    assert {len(tried) for tried in rounds} == {DIAL_BACK_URLS_MAX}
    assert sorted({url for tried in rounds[:3] for url in tried}) == sorted(urls)
    assert sorted({url for tried in rounds[2:] for url in tried}) == sorted(urls)
    assert all(judge.is_withdrawn(url) for url in urls)


def test_a_node_is_not_unreachable_before_everything_that_it_has_was_tried() -> None:
    judge, urls = Reachability(), tcp_at(*range(1, 11))

    standing = []
    for _ in range(3):
        round_of(judge, urls, urls[-1:])
        standing.append((judge.node, judge.has_untried))

    assert standing == [(Reach.UNKNOWN, True), (Reach.UNKNOWN, True), (Reach.REACHABLE, False)]


def test_one_that_was_reached_is_tried_in_every_round_whichever_are_in_turn() -> None:
    judge, urls = Reachability(), tcp_at(*range(1, 11))

    for _ in range(7):
        round_of(judge, urls, urls[:1])
        assert judge.node is Reach.REACHABLE
    assert [url for url in urls if judge.is_withdrawn(url)] == urls[1:]


def test_two_protocols_at_one_host_and_port_are_found_out_apart() -> None:
    judge, tcp, wss = Reachability(), "tcp://11.0.0.1:443", "wss://11.0.0.1:443"
    for group, host in (A, B):
        judge.heard(group, host, {tcp: Word.NO_NODE, wss: Word.REACHED}, is_proved=True)
    judge.settle([tcp, wss], 0.0)

    assert (judge.is_withdrawn(tcp), judge.is_withdrawn(wss)) == (True, False)


def test_a_node_that_one_version_of_ip_reaches_is_reached_and_the_other_is_told_apart() -> None:
    judge, four, six = Reachability(), "tcp://11.0.0.1:1", "tcp://[2a01:9::1]:1"
    for who in (A, B):
        say(judge, who, Word.SILENT, four)
    for who in (SIX, SEVEN):
        say(judge, who, Word.REACHED, six)
    judge.settle([four, six], 0.0)

    assert judge.node is Reach.REACHABLE
    assert judge.over == {Version.IPV4: Reach.UNREACHABLE, Version.IPV6: Reach.REACHABLE}
    assert (judge.is_withdrawn(four), judge.is_withdrawn(six)) == (True, False)


def test_a_version_that_one_peer_alone_denied_is_in_doubt_though_the_other_is_known() -> None:
    judge = Reachability()
    say(judge, A, Word.SILENT, "tcp://11.0.0.1:1")
    say(judge, SIX, Word.REACHED, "tcp://[2a01:9::1]:1")
    judge.settle([], 0.0)
    assert (judge.node, judge.is_in_doubt) == (Reach.REACHABLE, True)

    for who in (A, B):
        say(judge, who, Word.SILENT, "tcp://11.0.0.1:1")
    judge.settle([], 0.0)
    assert judge.over[Version.IPV4] is Reach.UNREACHABLE
    assert not judge.is_in_doubt


def test_a_node_that_neither_version_reaches_is_unreachable() -> None:
    judge = Reachability()
    for who in (A, B):
        say(judge, who, Word.SILENT, "tcp://11.0.0.1:1")
    for who in (SIX, SEVEN):
        say(judge, who, Word.SILENT, "tcp://[2a01:9::1]:1")
    judge.settle([], 0.0)

    assert judge.node is Reach.UNREACHABLE
    assert set(judge.over.values()) == {Reach.UNREACHABLE}


def test_a_name_is_found_out_over_each_version_and_stays_as_long_as_one_of_them_leads_there() -> None:
    judge = Reachability()
    for who in (A, B):
        say(judge, who, Word.SILENT, NAME)
    for who in (SIX, SEVEN):
        say(judge, who, Word.REACHED, NAME)
    judge.settle([NAME], 0.0)

    assert judge.finding(NAME).reach is Reach.REACHABLE
    assert judge.finding_over(NAME, Version.IPV4).word is Word.SILENT
    assert judge.finding_over(NAME, Version.IPV6).word is Word.REACHED
    assert ways_of(NAME) == [Way(NAME, Version.IPV4), Way(NAME, Version.IPV6)]


def test_a_node_that_was_a_client_stays_one_until_somebody_says_otherwise() -> None:
    judge = Reachability(Reach.UNREACHABLE)
    judge.settle([URL], 0.0)
    assert judge.node is Reach.UNREACHABLE

    assert judged((A, Word.REACHED), judge=judge).node is Reach.REACHABLE


def test_words_of_the_wire_are_known_again_and_all_others_are_denials() -> None:
    for word in set(Word) - {Word.TURNED_AROUND}:
        assert word_of(word.value, is_reachable=word is Word.REACHED) is word
    for text in ("reached", "", "reached from inside alone", "a word of a newer version"):
        assert word_of(text, is_reachable=False) is Word.FAILED


DENIALS = [w for w in Word if w not in (Word.REACHED, Word.NOT_DIALLED, Word.TURNED_AROUND)]


@pytest.mark.parametrize("word", DENIALS)
def test_whoever_is_not_reached_is_told_why_and_what_helps(word: Word) -> None:
    fact, fix = why(Finding(Reach.UNREACHABLE, word, 0.0), URL, ["11.0.0.2"])

    assert fact
    assert "8083" in fix or "--public-address" in fix or word is Word.UNTRUSTED


def test_each_reason_has_a_line_of_its_own_and_a_fix_of_its_own() -> None:
    told = [why(Finding(Reach.UNREACHABLE, word, 0.0), URL, []) for word in DENIALS]

    assert len({fact for fact, _ in told}) == len({fix for _, fix in told}) == len(told)


V6 = "tcp://[2a01::1]:8083"


@pytest.mark.parametrize("word", DENIALS)
def test_over_ipv6_nobody_is_told_to_forward_a_port(word: Word) -> None:
    finding = Finding(Reach.UNREACHABLE, word, 0.0)

    for _, fix in (
        why(finding, V6, []),
        why(finding, NAME, [], Version.IPV6),
        why(finding, V6, [], is_mapped=True),
    ):
        assert "forward" not in fix
        assert fix


def test_over_ipv6_each_reason_has_a_fix_of_its_own() -> None:
    told = [why(Finding(Reach.UNREACHABLE, word, 0.0), V6, []) for word in DENIALS]

    assert len({fix for _, fix in told}) == len(told)


@pytest.mark.parametrize("word", DENIALS)
def test_behind_a_router_that_forwards_the_port_another_is_looked_for(word: Word) -> None:
    finding = Finding(Reach.UNREACHABLE, word, 0.0)

    fact, fix = why(finding, URL, [], is_mapped=True)

    assert fact == why(finding, URL, [])[0]
    assert ("second router" in fix) is (word not in (Word.UNTRUSTED, Word.NOT_YOURS))


def test_what_peers_do_not_try_is_not_waited_for() -> None:
    below = "tcp://11.0.0.1:22"

    assert "peers do not try it" in why(Finding(), below, ["11.0.0.1"], is_tried=False)[0]
    assert "own network" in why(Finding(), "tcp://192.168.1.2:22", ["11.0.0.1"], is_tried=False)[0]
    assert why(Finding(Reach.REACHABLE, Word.REACHED, 0.0), below, [], is_tried=False) == ("", "")


def test_an_address_of_somebody_else_is_not_said_to_be_dead() -> None:
    fact, _ = why(Finding(Reach.UNREACHABLE, Word.NOT_YOURS, 0.0), URL, ["12.0.0.1"])

    assert fact == "others see this node at 12.0.0.1, and no node of yours answers here"


def test_an_address_of_the_own_network_is_said_to_be_one_once_others_see_the_node_elsewhere() -> None:
    at_home = "tcp://192.168.1.2:8083"

    assert "own network" in why(Finding(), at_home, ["11.0.0.1"])[0]
    assert why(Finding(), at_home, ["192.168.1.2"]) == ("", "")
    assert why(Finding(), at_home, []) == ("", "")
    assert why(Finding(), NAME, ["11.0.0.1"]) == ("", "")


def test_whoever_is_reached_is_told_nothing_more() -> None:
    assert why(Finding(Reach.REACHABLE, Word.REACHED, 0.0), URL, []) == ("", "")


def test_of_an_address_of_a_newer_protocol_nothing_is_known() -> None:
    assert ways_of("udp://11.0.0.1:1") == []
    assert Reachability().finding("udp://11.0.0.1:1") == Finding()
    assert why(Finding(Reach.UNREACHABLE), "udp://11.0.0.1:1", []) == ("", "")


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
        judge.heard(*who, {URL: word}, is_proved=False)
    judge.settle([URL], 0.0)

    assert judge.node is not Reach.REACHABLE
    assert judge.finding(URL).reach is not Reach.REACHABLE
