"""Groups, invites and keyfiles; sections 10, 12 and 13."""

from __future__ import annotations

from yzdht.limits.records import MULTI_ENTRIES_MAX
from yzdht.limits.spans import DAY_S, HOUR_S


# Section 12: invites

INVITE_LINK_CHARS_MAX = 1_024
INVITES_MAX = 16_384
INVITE_USES_MAX = 131_072
"""Of all invites of a ledger together: what they promise is set aside when they are issued."""
REVOKED_TOKENS_MAX = 3_000
"""What fits one record, at 18 bytes each."""
REVOCATIONS_READ_EVERY_S = float(HOUR_S)
REVOCATIONS_RETRY_S = 60.0
"""After the first try that failed; and so often the node of the issuer looks into its ledger."""
REDEEMS_PER_S_PER_PEER = 0.5
REDEEMS_BURST_PER_PEER = 8.0
REDEEMS_PER_S = 10.0
REDEEMS_BURST = 100.0
"""Of all peers together: each is a signature checked and, if it is good, one made and two commits."""
REDEEM_TIMEOUT_S = 10.0
REDEEM_PAUSE_S_MIN = 2.0
REDEEM_PAUSE_S_MAX = 300.0
"""A node that waits for the issuer of its invite asks at least so often."""
GUESTS_MAX = 32
"""Sessions with whoever shows an invite to a closed network and is no member yet."""
GUESTS_PER_INVITE_MAX = 8
GUEST_S_MAX = 300.0
GUEST_SPARE_AFTER_S = 10.0
"""After so long a guest makes place for the next one with the same invite: a link that leaked must not shut out others."""
GUEST_RECORD_BYTES_MAX = 2_048
"""A redemption sealed to one reader takes some 600."""
INVITE_LIFE_S_DEFAULT = 7 * DAY_S
INVITE_LIFE_S_MAX = 365 * DAY_S
MEMBERSHIP_LIFE_S = 365 * DAY_S
"""Of a closed network; then its members ask for a new invite."""
INVITE_KEPT_AFTER_S = 2 * DAY_S
"""Full ledgers forget invites that ended so long ago, since the clock may be ahead."""
INVITE_ID_DIGITS_MIN = 4
REDEEM_SLOTS_PER_ROUND_MAX = 256
"""Invites whose redemptions an issuer looks for in one round; of more, the others come next."""
REDEMPTIONS_PER_ROUND_MAX = MULTI_ENTRIES_MAX
"""Of one invite; a link that leaked makes its issuer write so often at most."""
ANSWERED_REMEMBERED_MAX = 4_096
INVITE_SERVED_EVERY_S = 60.0
INVITE_WAIT_S_DEFAULT = 90.0
"""Longer than INVITE_SERVED_EVERY_S: whoever serves has looked once by then."""
INVITE_WAIT_S_MAX = 1 * DAY_S
INVITE_POLLED_EVERY_S = 3.0
ISSUER_ADDRESSES_TRIED_MAX = 4

# Section 10: groups

GROUP_MEMBERS_MAX = 255
GROUP_PAST_MAX = 64
GROUP_STATE_BYTES_MAX = 25_843
"""All members, all of the past and of what is recent, every number in its longest form: 178 + 3 + 255 x 72 + 3 + 64 x 74 + 3 + 64 x 40."""
GROUP_EPOCHS_KEPT_MAX = 1_024
"""Twenty years of weekly epochs. Each costs an HMAC for a record of an epoch that is not known."""
GROUPS_KEPT_MAX = 256
"""Groups that one home knows in one network."""
GROUP_FORKS_KEPT_MAX = 8
GROUP_SUCCESSIONS_MAX = 8
"""Keys of a group that are followed at one look."""
GROUP_LEFT_READ_MAX = 16
"""States that a member who was away catches up with at one look, one for each who joined; with more at the next."""
GROUP_LOOK_S = 1 * HOUR_S
"""A member looks for a newer state at the first use in a process, and after so long."""
GROUP_LOOK_AGAIN_S = 60.0
"""And at a record of an epoch that it does not know, no sooner than so long after the last such look; before it writes, and
where nodes could not show a state, after so long since the last look of any kind."""
GROUP_EPOCH_S = 7 * DAY_S
GROUP_CHANGE_TRIES_MAX = 8
"""Other admins may be faster so often."""

# Section 13: keyfile

KEYFILE_BYTES_MAX = 65_536
PASSPHRASE_BYTES_MAX = 1_024
ARGON2_M_KIB_MIN = 19 * 1_024
ARGON2_M_KIB_MAX = 1 << 20
ARGON2_T_MAX = 10
ARGON2_P_MAX = 16
PBKDF2_ITERATIONS_MIN = 600_000
PBKDF2_ITERATIONS_MAX = 10_000_000
