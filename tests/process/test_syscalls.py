from __future__ import annotations

from tests.process.syscalls import Answered, Call, answers_of, commits_of, parse


CONNECTION = "TCP:[127.0.0.1:1->127.0.0.1:2]"
READ = f'10 read(7<{CONNECTION}>, ""..., 256000) = 5413'
ANSWER = f'10 write(7<{CONNECTION}>, ""..., 31) = 31'
LOGGED = '11 pwrite64(9</data/records.sqlite-wal>, ""..., 4096, 32) = 4096'
SYNCED = "11 fdatasync(9</data/records.sqlite-wal>) = 0"
SYNC_BEGINS = "11 fdatasync(9</data/records.sqlite-wal> <unfinished ...>"
SYNC_ENDS = "11 <... fdatasync resumed>)           = 0"


def commits_before_answers(*lines: str) -> list[int]:
    return [answer.commits for answer in answers_of(parse(lines), 5_000, "-wal")]


def test_an_answer_behind_the_sync_of_its_transaction_is_sound() -> None:
    assert commits_before_answers(READ, LOGGED, LOGGED, SYNCED, ANSWER) == [1]


def test_an_answer_without_a_sync_is_seen() -> None:
    assert commits_before_answers(READ, LOGGED, ANSWER, SYNCED) == [0]


def test_an_answer_while_the_sync_is_under_way_is_seen() -> None:
    assert commits_before_answers(READ, LOGGED, SYNC_BEGINS, ANSWER, SYNC_ENDS) == [0]
    assert commits_before_answers(READ, LOGGED, SYNC_BEGINS, SYNC_ENDS, ANSWER) == [1]


def test_the_sync_of_a_transaction_that_was_written_before_the_request_came_does_not_count() -> None:
    assert commits_before_answers(LOGGED, READ, SYNCED, ANSWER) == [0]


def test_a_sync_of_another_file_or_one_that_failed_does_not_count() -> None:
    assert commits_before_answers(READ, LOGGED, SYNCED.replace("-wal", ""), ANSWER) == [0]
    assert commits_before_answers(
        READ, LOGGED, SYNCED.replace("= 0", "= -1 EIO (Input/output error)"), ANSWER
    ) == [0]


def test_small_requests_and_other_connections_are_left_out() -> None:
    small = READ.replace("5413", "4000")
    elsewhere = ANSWER.replace("1->", "9->")
    assert commits_before_answers(small, ANSWER) == []
    assert commits_before_answers(READ, elsewhere, LOGGED, SYNCED, ANSWER) == [1]


def test_what_is_too_long_for_an_answer_is_left_out() -> None:
    question = ANSWER.replace("= 31", "= 131")
    calls = parse([READ, question, LOGGED, SYNCED, ANSWER])
    assert [answer.commits for answer in answers_of(calls, 5_000, "-wal")] == [0]
    assert [answer.commits for answer in answers_of(calls, 5_000, "-wal", 40)] == [1]


def test_a_request_that_is_read_in_pieces_is_one_request() -> None:
    half = READ.replace("5413", "3000")
    [answer] = answers_of(parse([half, LOGGED, half, SYNCED, ANSWER]), 5_000, "-wal")
    assert answer == Answered(CONNECTION, 2, 4, commits=0)


def test_calls_are_read_with_and_without_times_and_overlaps() -> None:
    lines = ["10 1795230136.290057 " + SYNC_BEGINS[3:].replace("11 ", ""), "11 +++ exited with 0 +++"]
    assert parse([*lines, "10 1795230136.3 <... fdatasync resumed>) = 0"]) == [
        Call("fdatasync", "/data/records.sqlite-wal", 0, 0, 2)
    ]
    assert parse(['10 read(3<TCPv6:[[::1]:1->[::1]:2]>, ""..., 9) = ?']) == []
    assert commits_of(parse([LOGGED, SYNCED, SYNCED, LOGGED]), "-wal") == [(0, 1)]
