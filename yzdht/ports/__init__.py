"""Protocols for effects, by subject: what the cores ask of the world, and what transport/, store/, the shell and tests supply."""

from yzdht.ports.invites import InviteLedger, InviteRow, InviteStanding, InviteUse, Registrar
from yzdht.ports.links import Accept, Endpoint, Link, LinkHandler, Listener, Transport
from yzdht.ports.marks import GroupShelf, KeptIdentity, KeptMove, Mark, Marks
from yzdht.ports.moment import Now, Rng
from yzdht.ports.records import RecordStore, StoredHead, StoredRecord, StoreTotals, VerdictSink
from yzdht.ports.signing import RecordVerifier, Signer
from yzdht.ports.topics import TopicSink, TopicStore, TopicTotals


__all__ = [
    "Accept",
    "Endpoint",
    "GroupShelf",
    "InviteLedger",
    "InviteRow",
    "InviteStanding",
    "InviteUse",
    "KeptIdentity",
    "KeptMove",
    "Link",
    "LinkHandler",
    "Listener",
    "Mark",
    "Marks",
    "Now",
    "RecordStore",
    "RecordVerifier",
    "Registrar",
    "Rng",
    "Signer",
    "StoreTotals",
    "StoredHead",
    "StoredRecord",
    "TopicSink",
    "TopicStore",
    "TopicTotals",
    "Transport",
    "VerdictSink",
]
