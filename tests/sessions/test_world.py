"""What sessions stand on where nothing else was said."""

from __future__ import annotations

from yzdht.config import NodeConfig
from yzdht.crypto.handshake import Credentials
from yzdht.crypto.naming import network_id
from yzdht.ids import NodeId
from yzdht.limits import SESSIONS_MAX
from yzdht.sessions.admission import SessionBounds
from yzdht.sessions.clock import SystemClock
from yzdht.sessions.world import World
from yzdht.store.keyfile import Identity
from yzdht.telemetry import Counters
from yzdht.wire.frame import Caps


def test_a_process_without_a_table_knows_nobody_and_has_the_usual_bounds() -> None:
    credentials = Credentials(Identity.generate().signer, network_id("main"), Caps.ALWAYS, None)
    world = World(credentials, [], SystemClock(), Counters())

    assert not world.is_known(NodeId(bytes(32)))
    assert world.bounds.sessions_max == SESSIONS_MAX
    assert world.bounds.bandwidth_bytes_per_s is None


def test_what_an_operator_chose_becomes_bounds() -> None:
    config = NodeConfig(sessions_max=7, bandwidth_bytes_per_s=1_000, trusted_proxies=("203.0.113.7",))
    capacity = config.capacity

    assert SessionBounds.of(capacity) == SessionBounds(
        7, capacity.dials_in_flight_max, capacity.dials_per_s, 1_000, capacity.trusted_proxies
    )
