"""Many operations at once: a program that starts a thousand gets and puts together gets a thousand answers."""

from __future__ import annotations

import asyncio

from yzdht import Client, Node


MANY = 1_000


async def test_a_thousand_puts_and_gets_at_once_through_a_client_all_succeed() -> None:
    async with (
        Node(0, host="127.0.0.1") as first,
        Node(0, host="127.0.0.1", bootstrap=[first.addresses[0].url]),
        Client.connect(first.addresses[0].url) as dht,
    ):
        await asyncio.gather(*(dht.store(f"n{i}", b"%d" % i) for i in range(MANY)))
        values = await asyncio.gather(*(dht.get(f"n{i}") for i in range(MANY)))

    assert [int(value.data) for value in values] == list(range(MANY))


async def test_a_thousand_puts_at_once_through_a_node_all_succeed() -> None:
    async with Node(0, host="127.0.0.1") as first:
        bootstrap = [first.addresses[0].url]
        async with (
            Node(0, host="127.0.0.1", bootstrap=bootstrap),
            Node(0, host="127.0.0.1", bootstrap=bootstrap),
        ):
            receipts = await asyncio.gather(*(first.store(f"n{i}", b"x" * 1_000) for i in range(MANY)))

    assert len({receipt.link for receipt in receipts}) == MANY
