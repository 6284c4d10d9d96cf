"""Strangers that flood topics, as flood.py floods a node: messages of throw-away senders, subscriptions, subscribers that do not read."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from tests.process.flood import CLOCK, NETWORK, serve
from yzdht.crypto.primitives import PrivateKey
from yzdht.crypto.signing import KeySigner
from yzdht.crypto.topics import MessagePlace, public_message, sign_envelope
from yzdht.ids import SendSession, TopicId
from yzdht.wire.frame import Caps
from yzdht.wire.pubsub import SEND_SESSION_BYTES, TOPIC_BYTES, PubsubMessage
from yzdht.wire.rpc import Method, Publish, Subscribe


if TYPE_CHECKING:
    from tests.process.flood import Attack, Flood, Raider


_NODE, _CLIENT = Caps.ALWAYS | Caps.PUBSUB, Caps.ALWAYS | Caps.CLIENT


def thrown_away(signer: KeySigner, topic: TopicId, size: int) -> bytes:
    """The only message of its session."""
    place = MessagePlace(topic, signer.public_key, SendSession(os.urandom(SEND_SESSION_BYTES)), 0)
    message = PubsubMessage(int(CLOCK.now().wall), 0, bytes(size))
    return sign_envelope(public_message(place, message), signer, NETWORK)


def topic_of(flood: Flood, turn: int) -> TopicId:
    """One of those that the plan names, or a new one."""
    named = flood.plan.topics
    return TopicId(bytes.fromhex(named[turn % len(named)]) if named else os.urandom(TOPIC_BYTES))


async def _publish(flood: Flood, host: str, number: int, *, delegate: bool) -> None:
    async with flood.session(host) as raider:
        for turn in itertools.count(number):
            signer = KeySigner(PrivateKey.generate())
            await flood.pace.turn()
            if raider.gone.is_set():
                return
            envelope = thrown_away(signer, topic_of(flood, turn), flood.plan.size)
            await raider.ask(Method.PUBLISH, Publish(envelope, delegate))


async def messages(flood: Flood, host: str, number: int) -> None:
    """Valid messages to a host, each of another sender, as fast as they are answered."""
    await _publish(flood, host, number, delegate=False)


async def errands(flood: Flood, host: str, number: int) -> None:
    """The same to a node that brings them to the hosts."""
    await _publish(flood, host, number, delegate=True)


async def _subscribe(flood: Flood, host: str, *, delegate: bool) -> None:
    async with flood.session(host) as raider:
        for turn in itertools.count():
            await flood.pace.turn()
            if raider.gone.is_set():
                return
            await raider.ask(Method.SUBSCRIBE, Subscribe(topic_of(flood, turn), delegate=delegate))


async def subscriptions(flood: Flood, host: str, _number: int) -> None:
    """Subscriptions to topics at a host, without end."""
    await _subscribe(flood, host, delegate=False)


async def ears(flood: Flood, host: str, _number: int) -> None:
    """The same at a node that listens for its clients."""
    await _subscribe(flood, host, delegate=True)


async def deaf(flood: Flood, host: str, number: int) -> None:
    """Subscribe, as a client at a host, as a node or as a client of an edge node, and read nothing from then on."""
    async with flood.session(host, caps=_NODE if number % 3 == 1 else _CLIENT) as raider:
        for turn in range(len(flood.plan.topics)):
            topic = topic_of(flood, turn)
            raider.ask_now(Method.SUBSCRIBE, Subscribe(topic, delegate=number % 3 == 2))
        await _stop_reading(raider)


async def _stop_reading(raider: Raider) -> None:
    raider.link.pause_reading()  # such a link does not see that it was dropped
    await raider.gone.wait()


FLOODS: dict[str, Attack] = {each.__name__: each for each in (messages, errands, subscriptions, ears, deaf)}


if __name__ == "__main__":
    serve(FLOODS)
