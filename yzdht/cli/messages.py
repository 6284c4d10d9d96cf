"""Messages of topics, and what is missing of them, as people and programs see them."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

from yzdht.cli.screen import on_one_line
from yzdht.crypto.naming import fingerprint, node_id_of
from yzdht.pubsub.events import Filled, Gap, Lost, Refused
from yzdht.wire.text import encode_public_key


if TYPE_CHECKING:
    from yzdht.cli.settings import Settings
    from yzdht.ids import PublicKey
    from yzdht.pubsub.events import Message
    from yzdht.wire.holdings import Series


GapEvent = Gap | Filled | Lost | Refused

_GAPS: dict[type[GapEvent], str] = {Gap: "missing", Filled: "filled", Lost: "lost", Refused: "refused"}


class Names:
    """What a home calls people.

    Args:
        own: Its own key.
        contacts: Names by key.

    """

    def __init__(self, own: PublicKey, contacts: dict[PublicKey, str]) -> None:
        self.own = own
        self._contacts = contacts

    @classmethod
    def of(cls, settings: Settings) -> Names:
        """Those of the home; raises as `Settings.identity`."""
        with settings.remembered() as marks:
            contacts = {contact.public_key: contact.name for contact in marks.contacts()}
        own = settings.identity.public_key
        return cls(own, contacts | {own: "you"})

    def name(self, person: PublicKey) -> str | None:
        """What this home calls somebody, "you" for oneself."""
        return self._contacts.get(person)

    def shown(self, person: PublicKey) -> str:
        """Their name, else their fingerprint."""
        return self.name(person) or fingerprint(node_id_of(person))


def text_of(data: bytes) -> str:
    """What a message says, on one line; what cannot be shown is escaped."""
    return on_one_line(data.removesuffix(b"\n").decode(errors="backslashreplace"))


def by_time(messages: list[Message]) -> list[Message]:
    """Those of several senders in the order of their time, those of one run of a sender in their order whatever its clock did.

    Within a second those come first that came last: hosts name the run that changed last first.
    """
    latest: dict[Series, int] = {}
    times, places = [], list[int]()
    runs: dict[Series, int] = {}
    for message in messages:
        latest[message.series] = max(latest.get(message.series, 0), message.created)
        times.append(latest[message.series])
        places.append(-runs.setdefault(message.series, len(runs)))
    order = sorted(range(len(messages)), key=lambda which: (times[which], places[which]))
    return [messages[which] for which in order]


def message_view(message: Message, names: Names) -> dict[str, object]:
    """A message as an object; `text` is there if its bytes are UTF-8."""
    view: dict[str, object] = {"data": base64.b64encode(message.data).decode(), "encoding": "base64"}
    with contextlib.suppress(UnicodeDecodeError):
        view["text"] = message.data.decode()
    return view | {
        "sender": encode_public_key(message.sender),
        "name": names.name(message.sender),
        "session": message.series.session.hex(),
        "index": message.index,
        "id": message.id.hex(),
        "type": message.type,
        "created": message.created,
        "received": message.received,
        "history": message.is_history,
        "late": message.is_late,
    }


def gap_view(event: GapEvent, names: Names) -> dict[str, object]:
    """What is missing of a sender's messages, has come, is lost, or came and is not told."""
    start, count = (event.index, 1) if isinstance(event, Refused) else (event.span.start, event.count)
    return {
        "gap": _GAPS[type(event)],
        "sender": encode_public_key(event.sender),
        "name": names.name(event.sender),
        "session": event.series.session.hex(),
        "from": start,
        "count": count,
        "reason": event.reason.value if isinstance(event, Lost | Refused) else None,
    }


def gap_line(event: GapEvent, names: Names) -> str:
    """The same for people."""
    who = names.shown(event.sender)
    if isinstance(event, Refused):
        return f"a message of {who} is not shown: {event.reason.value}"
    count = event.count
    what = f"{count} message{'' if count == 1 else 's'} of {who}"
    be, have = ("is", "has") if count == 1 else ("are", "have")
    if isinstance(event, Lost):
        return f"{what} {be} lost: {event.reason.value}"
    return f"{what} {have} come" if isinstance(event, Filled) else f"{what} {be} missing, and looked for"
