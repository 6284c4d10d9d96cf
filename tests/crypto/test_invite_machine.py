"""One issuer against a plain model: redemptions arrive twice, late, forged, side by side and over restarts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.crypto.company import key
from tests.crypto.invites import ISSUER, KEM, OFFICE, OTHER_KEY, SECRET, START, enter
from tests.vectors.golden import KEY_B, NETWORK
from yzdht.crypto.invite import Admission, Bearer, Named, Terms, issue, judge
from yzdht.crypto.invite_ledger import MemoryLedger
from yzdht.crypto.naming import node_id_of
from yzdht.errors import (
    InviteExpired,
    InviteForAnother,
    InviteForged,
    InviteNotYetValid,
    InviteRefused,
    InviteRevoked,
    InviteUnknown,
    InviteUsedUp,
    WrongInviteScope,
    WrongInviteSecret,
)
from yzdht.ids import TokenId
from yzdht.limits import CLOCK_SKEW_S
from yzdht.wire.token import NO_SECRET, Redemption, Token, decode_redemption, encode_redemption


if TYPE_CHECKING:
    from tests.crypto.ledger_suite import AnyLedger


PEOPLE = [KEY_B.public_key, OTHER_KEY, key(7)]
OTHER_GROUP = replace(OFFICE, scope=b"another group's ")
LIFE_S = 3_600
WHO = st.integers(0, len(PEOPLE) - 1)


@dataclass
class Issued:
    """What the model knows of one invite."""

    token: Token
    for_whom: int | None
    is_revoked: bool = False
    is_known: bool = True
    joined: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Sent:
    """A redemption on its way: whose it is, of which invite, and what was done to it."""

    invite: Issued
    who: int
    change: str
    raw: bytes


def changed(token: Token, secret: bytes, change: str) -> bytes:
    match change:
        case "more uses":
            token = replace(token, is_single_use=False, uses_max=token.uses_max + 1)
        case "longer":
            token = replace(token, not_after=token.not_after + LIFE_S)
        case "signed by others":
            token = replace(token, issuer=PEOPLE[0])
        case "another secret" if token.is_bearer:
            secret = b"x" * 16
    return encode_redemption(Redemption(token, secret, KEM))


class IssuerMachine(RuleBasedStateMachine):
    issued = Bundle("issued")
    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.now = float(START)
        self.ledger = self.new_ledger()
        self.all: list[Issued] = []

    @rule(
        target=issued,
        uses_max=st.integers(1, 3),
        for_whom=st.none() | WHO,
        starts_in_s=st.sampled_from([0, 900]),
    )
    def issue(self, uses_max: int, for_whom: int | None, starts_in_s: int) -> Issued:
        begin = int(self.now) + starts_in_s
        terms = Terms(
            OFFICE.type, begin, begin + LIFE_S, 1 if for_whom is not None else uses_max, OFFICE.scope
        )
        invitee = Bearer(SECRET) if for_whom is None else Named(node_id_of(PEOPLE[for_whom]))
        token = issue(ISSUER, NETWORK, terms, TokenId(len(self.all).to_bytes(16)), invitee)
        enter(self.ledger, token)
        self.all.append(Issued(token, for_whom))
        return self.all[-1]

    @rule(
        target=sent,
        invite=issued,
        who=WHO,
        change=st.sampled_from(["", "", "", "", "more uses", "longer", "signed by others", "another secret"]),
    )
    def send(self, invite: Issued, who: int, change: str) -> Sent:
        secret = SECRET if invite.token.is_bearer else NO_SECRET
        return Sent(invite, who, change, changed(invite.token, secret, change))

    @rule(sent=sent)
    def arrives(self, sent: Sent) -> None:
        """It stays on its way: whatever was sent may arrive again."""
        self._judge(sent)

    @rule(sent=consumes(sent))
    def arrives_for_the_last_time(self, sent: Sent) -> None:
        self._judge(sent)

    @rule(invite=issued, order=st.permutations(range(len(PEOPLE))))
    def all_redeem_at_once(self, invite: Issued, order: list[int]) -> None:
        """Every redemption is read before the first is judged: nothing that was read can be out of date."""
        secret = SECRET if invite.token.is_bearer else NO_SECRET
        together = [Sent(invite, who, "", changed(invite.token, secret, "")) for who in order]
        read = [(sent, decode_redemption(sent.raw)) for sent in together]
        for sent, redemption in read:
            self._judge(sent, redemption)

    @rule(sent=sent)
    def is_replayed_at_another_group(self, sent: Sent) -> None:
        try:
            judge(decode_redemption(sent.raw), PEOPLE[sent.who], OTHER_GROUP, self.ledger, self.now)
        except WrongInviteScope:
            return
        raise AssertionError("an invite to one group was redeemed at another")

    @rule(invite=issued)
    def revoke(self, invite: Issued) -> None:
        if invite.is_known:
            self.ledger.revoke(invite.token.id, self.now)
            invite.is_revoked = True

    @rule(seconds=st.sampled_from([1, 300, 900, 3_000, 5_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([300, 5_000]))
    def clock_is_set_back(self, seconds: int) -> None:
        self.now -= seconds

    @rule()
    def forget(self) -> None:
        self.ledger.forget_expired(self.now)
        for invite in self.all:
            if self.now > invite.token.not_after + CLOCK_SKEW_S:
                invite.is_known = False

    @rule()
    def restart(self) -> None:
        """The answer to the last redemption may be lost; what was counted is not."""
        self.ledger = self.reopened()

    def new_ledger(self) -> AnyLedger:
        return MemoryLedger()

    def reopened(self) -> AnyLedger:
        return MemoryLedger((standing.row for standing in self.ledger.standings()), self.ledger.uses())

    def _judge(self, sent: Sent, redemption: Redemption | None = None) -> None:
        expected = self._expected(sent)
        outcome = self._outcome(sent, redemption or decode_redemption(sent.raw))
        if isinstance(outcome, InviteRefused):
            assert type(outcome) is expected, (outcome, expected)
            assert outcome.hint
            return
        assert expected is None, expected
        again = sent.who in sent.invite.joined
        assert outcome == Admission(sent.invite.token, PEOPLE[sent.who], KEM, is_again=again)
        sent.invite.joined.add(sent.who)

    def _outcome(self, sent: Sent, redemption: Redemption) -> Admission | InviteRefused:
        try:
            return judge(redemption, PEOPLE[sent.who], OFFICE, self.ledger, self.now)
        except InviteRefused as error:
            return error

    def _expected(self, sent: Sent) -> type[InviteRefused] | None:
        invite, token = sent.invite, sent.invite.token
        if sent.change == "signed by others":
            return WrongInviteScope
        if sent.change in {"more uses", "longer"}:
            return InviteForged
        if self.now < token.not_before - CLOCK_SKEW_S:
            return InviteNotYetValid
        if self.now > token.not_after + CLOCK_SKEW_S:
            return InviteExpired
        if invite.for_whom is not None and invite.for_whom != sent.who:
            return InviteForAnother
        if sent.change == "another secret" and token.is_bearer:
            return WrongInviteSecret
        return self._refused_by_the_ledger(invite, sent.who)

    def _refused_by_the_ledger(self, invite: Issued, who: int) -> type[InviteRefused] | None:
        if not invite.is_known:
            return InviteUnknown
        if invite.is_revoked:
            return InviteRevoked
        is_full = len(invite.joined) >= invite.token.uses_max
        return InviteUsedUp if is_full and who not in invite.joined else None

    @invariant()
    def the_ledger_holds_what_was_admitted(self) -> None:
        known = {invite.token.id: invite for invite in self.all if invite.is_known}
        standings = {standing.row.token_id: standing for standing in self.ledger.standings()}
        assert standings.keys() == known.keys()
        for token_id, invite in known.items():
            assert standings[token_id].uses == len(invite.joined) <= invite.token.uses_max
            assert (standings[token_id].row.revoked_at is not None) == invite.is_revoked
        assert len(self.ledger.uses()) == sum(len(invite.joined) for invite in known.values())


TestIssuer = IssuerMachine.TestCase
TestIssuer.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
