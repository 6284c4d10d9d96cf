"""Errors of ours: the caller or the operator asked for something impossible."""

from __future__ import annotations

from yzdht.errors.tree import ConfigError, UsageError


class ValueTooLarge(UsageError):
    """A value is longer than one record can carry."""

    default_hint = "split the value; one record carries at most 61,436 bytes"


class CertificateRefused(ConfigError):
    """A certificate, its key or an authority cannot be used."""

    default_hint = "name a PEM file"


class BadInviteLink(UsageError):
    """A text is not one whole invite link (PROTOCOL.md section 12)."""

    default_hint = "copy the link again, from its first character to its last, as `yz invite` printed it"


class LedgerFull(UsageError):
    """An issuer has as many invites, promised uses or revocations as its ledger holds."""

    default_hint = "revoke invites that nobody needs, or wait until some expire"


class NoSuchInvite(UsageError):
    """An issuer's ledger holds no invite of this id."""

    default_hint = "list those that it holds with `yz invite list`"


class GroupChangeRefused(UsageError):
    """A group's state cannot be changed like that (PROTOCOL.md section 10)."""

    default_hint = "look at the group's members first"


class NotAMember(GroupChangeRefused):
    """The change names somebody who is not in the group."""

    default_hint = "look at the group's members, or invite them first"


class NotAWriter(UsageError):
    """A public topic has an owner, who does not list this identity (PROTOCOL.md section 11)."""

    default_hint = "ask the topic's owner to list you: yz topic policy, or set_topic_policy()"


class AlreadyAMember(GroupChangeRefused):
    """The joiner is in the group already."""

    default_hint = "promote them, or change their KEM key, instead of adding them again"


class GroupFull(GroupChangeRefused):
    """The group has all the members that one can have."""

    default_hint = "remove a member first, or create a second group; one has at most 255 members"


class LastAdmin(GroupChangeRefused):
    """Without this admin nobody could change the group any more."""

    default_hint = "promote another member first"


class NotAnAdmin(GroupChangeRefused):
    """Only admins change a group, and this home holds no key of it."""

    default_hint = "ask an admin: `yz group members NAME` shows them"


class AdminKnowsKey(GroupChangeRefused):
    """An admin cannot merely be taken off the list: it knows the group's key."""

    default_hint = "remove the admin together with the group's key, which is made anew then"
