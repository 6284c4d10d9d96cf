from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.crypto.invites import INVITE_ID, JOINER_ID, NOW, OTHER_ID, START, enter, invite
from tests.crypto.ledger_suite import MEMBERSHIP, LedgerSuite, other_id
from tests.crypto.test_invite_machine import IssuerMachine
from yzdht.crypto.invite_ledger import row_of
from yzdht.errors import InviteUsedUp, LedgerFull, NewerFormat, StoreError
from yzdht.ids import NodeId
from yzdht.limits import REVOKED_TOKENS_MAX
from yzdht.store.ledger import LEDGER_SCHEMA, SqliteLedger
from yzdht.store.schema import Schema, open_database


if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2]
TAKER = """
import sys
from pathlib import Path
from tests.crypto.invites import INVITE_ID, NOW
from yzdht.errors import InviteUsedUp
from yzdht.ids import NodeId
from yzdht.store.ledger import SqliteLedger
ledger = SqliteLedger(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
taken = 0
for number in range(int(sys.argv[2]), 40, 2):
    try:
        taken += not ledger.take(INVITE_ID, NodeId(number.to_bytes(32)), NOW)
    except InviteUsedUp:
        pass
print(taken)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "invites.sqlite"


class TestSqliteLedger(LedgerSuite):
    @pytest.fixture(autouse=True)
    def _in_a_folder(self, path: Path) -> Iterator[None]:
        self._path, self._open = path, list[SqliteLedger]()
        yield
        for ledger in self._open:
            ledger.close()

    def make(self) -> SqliteLedger:
        self._open.append(SqliteLedger(self._path))
        return self._open[-1]


class SqliteIssuerMachine(IssuerMachine):
    """Its ledger is on disk, and opened anew at every restart."""

    def new_ledger(self) -> SqliteLedger:
        self._folder = tempfile.TemporaryDirectory()
        return SqliteLedger(Path(self._folder.name) / "invites.sqlite")

    def reopened(self) -> SqliteLedger:
        self.teardown_ledger()
        return SqliteLedger(Path(self._folder.name) / "invites.sqlite")

    def teardown_ledger(self) -> None:
        assert isinstance(self.ledger, SqliteLedger)
        self.ledger.close()

    def teardown(self) -> None:
        self.teardown_ledger()
        self._folder.cleanup()


TestSqliteIssuer = SqliteIssuerMachine.TestCase
TestSqliteIssuer.settings = settings(max_examples=6, stateful_step_count=15, deadline=None)


def test_the_file_is_nobody_else_s_business(path: Path) -> None:
    SqliteLedger(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_entered_counted_and_revoked_outlives_the_process(path: Path) -> None:
    with closing(SqliteLedger(path)) as ledger:
        enter(ledger, invite(uses_max=1))
        enter(ledger, MEMBERSHIP)
        ledger.take(INVITE_ID, JOINER_ID, NOW)
        ledger.revoke(MEMBERSHIP.id, NOW)
        before = ledger.standings()

    with closing(SqliteLedger(path)) as again:
        assert again.standings() == before
        assert again.take(INVITE_ID, JOINER_ID, NOW)
        with pytest.raises(InviteUsedUp):
            again.take(INVITE_ID, OTHER_ID, NOW)


def test_what_another_process_wrote_is_seen(path: Path) -> None:
    with closing(SqliteLedger(path)) as first, closing(SqliteLedger(path)) as second:
        enter(first, invite(uses_max=1))
        second.take(INVITE_ID, JOINER_ID, NOW)

        with pytest.raises(InviteUsedUp):
            first.take(INVITE_ID, OTHER_ID, NOW)


@pytest.mark.process
def test_two_processes_at_once_admit_as_many_as_the_invite_is_for(path: Path) -> None:
    with closing(SqliteLedger(path)) as ledger:
        enter(ledger, invite(uses_max=7))
        takers = [
            subprocess.Popen(
                [sys.executable, "-c", TAKER, str(path), str(number)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        for taker in takers:
            assert taker.stdout is not None
            assert taker.stdout.readline() == "ready\n"
        for taker in takers:
            assert taker.stdin is not None
            taker.stdin.write("go\n")
            taker.stdin.flush()
        taken = [int(taker.communicate(timeout=60)[0]) for taker in takers]

        assert sum(taken) == 7
        assert [standing.uses for standing in ledger.standings()] == [7]


def test_a_list_of_revocations_that_is_full_takes_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yzdht.crypto.invite_ledger.REVOKED_TOKENS_MAX", 2)
    rows = [row_of(MEMBERSHIP, START)._replace(token_id=other_id(number)) for number in range(3)]
    with closing(SqliteLedger(path)) as ledger:
        for row in rows:
            ledger.add(row)
        for row in rows[:2]:
            ledger.revoke(row.token_id, NOW)

        with pytest.raises(LedgerFull):
            ledger.revoke(rows[2].token_id, NOW)
    assert REVOKED_TOKENS_MAX > 2


def test_what_went_wrong_inside_a_transaction_leaves_nothing_behind(path: Path) -> None:
    with closing(SqliteLedger(path)) as ledger:
        enter(ledger, invite(uses_max=1))
        ledger.take(INVITE_ID, JOINER_ID, NOW)
        for _ in range(2):
            with pytest.raises(InviteUsedUp):
                ledger.take(INVITE_ID, NodeId(bytes(32)), NOW)

        assert ledger.take(INVITE_ID, JOINER_ID, NOW)


def test_the_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    newer = Schema(LEDGER_SCHEMA.application_id, (*LEDGER_SCHEMA.steps, ("CREATE TABLE news (a)",)))
    open_database(path, newer).close()

    with pytest.raises(NewerFormat):
        SqliteLedger(path)


def test_a_file_that_is_no_ledger_is_refused(path: Path) -> None:
    path.write_bytes(b"x" * 4_096)
    path.chmod(0o600)

    with pytest.raises(StoreError):
        SqliteLedger(path)


def test_a_ledger_that_is_closed_says_so_as_a_store_error(path: Path) -> None:
    ledger = SqliteLedger(path)
    ledger.close()

    for work in (ledger.standings, ledger.uses, lambda: ledger.take(INVITE_ID, JOINER_ID, NOW)):
        with pytest.raises(StoreError):
            work()
