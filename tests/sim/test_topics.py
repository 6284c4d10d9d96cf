"""Topics among real engines while the network loses, cuts and ends what it can.

Invariants. Nobody is told what nobody wrote, anything twice, or anything old as live; the messages of a sender come in order. What
a majority of the hosts acknowledged is told to everybody who listens, also over restarts; where every node that had it is gone it is
declared lost. All clocks are wrong by minutes and drift. The short form runs few seeds, the long one 200 (YZ_SEEDS).
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import pytest

from tests.sim.circle import Circle, reader_key
from tests.sim.listening import (
    Author,
    Ear,
    Place,
    Sent,
    author_key,
    check_bounds,
    check_complete,
    check_told,
    envelope_of,
)
from tests.sim.lying_hosts import Liar, Lies
from tests.sim.topics import TopicWorld
from tests.sim.world import seeds
from yzdht.ids import MessageId, SendSession, TopicId
from yzdht.limits import (
    ANNOUNCE_AFTER_S,
    ANNOUNCE_EVERY_S,
    FEED_LOOK_EVERY_S,
    FEED_RETRY_S_MAX,
    GAP_GIVE_UP_S,
    HISTORY_MESSAGES_MAX,
    HOUR_S,
    LIVE_S,
    PULL_GRACE_S,
    REPLAY_KEPT_S,
    TOPIC_HOSTS,
)
from yzdht.pubsub.feed import Start
from yzdht.pubsub.publisher import majority
from yzdht.wire.holdings import Series, Span


if TYPE_CHECKING:
    from tests.conftest import Figures
    from tests.sim.topics import TopicNode
    from yzdht.wire.pubsub import PubsubEnvelope


TOPIC = TopicId(b"topic of stories")
NODES = 8
STORY_S = 150
SETTLING_S = FEED_LOOK_EVERY_S + FEED_RETRY_S_MAX
LOSS = 0.1
NEWCOMERS_MAX = 3


class Story:
    """One network in which some publish and others listen, and much goes wrong.

    Attributes:
        gone: Nodes that never come back.

    """

    def __init__(self, world: TopicWorld, circle: Circle | None = None) -> None:
        self.world = world
        self.random = world.random
        world.spoil_clocks()
        world.add_network(NODES)
        self.hosts = world.hosts_of(TOPIC)[: TOPIC_HOSTS + 1]
        rest = world.hosts_of(TOPIC)[TOPIC_HOSTS + 1 :]
        client = world.add_client(*rest[:3])
        writing, listening = [self.hosts[0], *rest[:2], client], [self.hosts[1], *rest[2:4], client]
        self.authors = [Author(node, TOPIC, i, circle) for i, node in enumerate(writing)]
        self.ears = [
            Ear(node, TOPIC, Start.ALL, circle.fellow(reader_key(i)) if circle is not None else None)
            for i, node in enumerate(listening)
        ]
        self.gone: set[TopicNode] = set()
        self.wiped = self.cuts = self.kills = self.newcomers = 0
        world.run_for(5)
        world.weather.loss = LOSS
        world.weather.disk_s = self.random.choice((0.005, 0.5))

    def run(self, seconds: int = STORY_S) -> None:
        """Much goes wrong, then nothing for a while."""
        for second in range(seconds):
            for author in self.authors:
                if self.random.random() < 0.6:
                    author.publish()
            if second % 7 == 3:
                self.something_happens()
            self.world.run_for(1.0)
            if second % 10 == 0:
                check_bounds(self.world)
        self.settle()

    def something_happens(self) -> None:
        chance = self.random.random()
        if chance < 0.06:  # the power goes where all hosts stand
            for node in [node for node in self.hosts if node.is_up]:
                self.kills += 1
                self.world.kill(node)
                self.world.after(self.random.uniform(1, 20), self.restart, node)
            return
        chance = self.random.random()
        up = [node for node in self.world.topic_nodes if node.is_up]
        if chance < 0.4:
            hosts = [node for node in self.hosts if node.is_up]
            if len(hosts) > 1:
                self.kill(self.random.choice(hosts))
        elif chance < 0.6:
            self.kill(self.random.choice(up))
        elif chance < 0.65 and self.newcomers < NEWCOMERS_MAX:
            self.newcomers += 1
            self.world.add_node().join(*self.random.sample(up, 2))
        elif chance < 0.75:
            self.cuts += 1
            away = self.random.sample(up, self.random.randint(1, 4))
            self.world.partition(away)
            self.world.after(self.random.uniform(3, 90), self.world.heal)
        else:
            node = self.random.choice(up)
            for session in list(node.sessions.values()):
                if self.random.random() < 0.5:
                    self.random.choice((self.world.end, self.world.replace))(session)

    def kill(self, node: TopicNode) -> None:
        self.kills += 1
        self.world.kill(node)
        chance = self.random.random()
        has_ear = any(ear.node is node for ear in self.ears)
        if chance < 0.1 and not has_ear and len(self.gone) < 2:
            self.gone.add(node)
            return
        if chance < 0.25:
            self.wiped += 1
            node.wipe()
        self.world.after(self.random.uniform(1, 40), self.restart, node)

    def restart(self, node: TopicNode) -> None:
        if node.is_up or node in self.gone:
            return
        up = [other for other in self.world.topic_nodes if other.is_up and other not in node.gates]
        self.world.restart(node, through=self.random.sample(up, min(2, len(up))))
        for ear in self.ears:
            ear.go_on()

    def settle(self) -> None:
        self.world.heal()
        for node in self.world.topic_nodes:
            self.restart(node)
        self.world.run_for(SETTLING_S)

    def check(self) -> int:
        """All that must hold; returns how many messages are lost to somebody."""
        for ear in self.ears:
            check_told(ear, self.authors)
        return sum(check_complete(ear, self.authors, self.is_held) for ear in self.ears)

    def is_held(self, envelope: PubsubEnvelope) -> bool:
        return any(node.is_up and node.holds(envelope) for node in self.world.topic_nodes)


@pytest.mark.parametrize("seed", seeds(10))
def test_what_a_majority_acknowledged_reaches_everybody_once_and_in_order(
    seed: int, figures: Figures
) -> None:
    with TopicWorld(seed) as world:
        story = Story(world)
        story.run()
        lost = story.check()
        sent = [sent for author in story.authors for sent in author.sent]
        figures(
            f"seed {seed}: {sum(s.is_accepted for s in sent)} of {len(sent)} messages acknowledged, {story.kills} nodes"
            f" killed, {story.wiped} disks lost, {story.cuts} cuts; {lost} messages lost to somebody, and told to be"
        )


class LyingStory(Story):
    """One of the hosts lies; of the others one at a time is away for a while, and keeps its disk.

    Attributes:
        liar: Who lies.
        live: Listens to what is said from now on alone.
        trove: What was said before anybody listened, and no host has any more.

    """

    def __init__(self, world: TopicWorld, lies: Lies) -> None:
        super().__init__(world)
        author = self.authors[0]
        now = int(world.now.wall)
        self.trove = [
            envelope_of(
                Place(Series(author.public_key, SendSession(b"old%05d" % age)), index), TOPIC, now - age, b""
            )
            for age in (int(LIVE_S) + 400, 3 * HOUR_S, int(REPLAY_KEPT_S) + 400)
            for index in range(10)
        ]
        self.old = {envelope.id for envelope in self.trove}
        author.sent.extend(Sent(envelope, 0.0) for envelope in self.trove)
        self.liar = Liar(self.hosts[world.random.randrange(TOPIC_HOSTS)], lies, self.trove)
        self.live = Ear(self.world.hosts_of(TOPIC)[-1], TOPIC, Start.LIVE)
        world.run_until(lambda: self.live.feed.is_settled)
        self.live_since = world.now.mono

    def something_happens(self) -> None:
        if all(node.is_up for node in self.hosts):
            node = self.random.choice([node for node in self.hosts if node is not self.liar.node])
            self.kills += 1
            self.world.kill(node)
            self.world.after(self.random.uniform(1, 20), self.restart, node)

    def check(self) -> int:
        lost = super().check() + check_complete(self.live, self.authors, self.is_held, self.live_since)
        check_told(self.live, self.authors)
        too_old = self.world.now.wall - REPLAY_KEPT_S
        for ear in (*self.ears, self.live):
            replayed = [message for message in ear.messages if message.id in self.old]
            assert all(message.is_history for message in replayed), f"{ear} was told something old as live"
            assert all(message.created >= too_old for message in replayed), (
                f"{ear} was told something forgotten"
            )
        return lost


@pytest.mark.parametrize("seed", seeds(10))
def test_a_host_that_withholds_reorders_replays_and_forges_keeps_nothing_from_anybody(
    seed: int, figures: Figures
) -> None:
    with TopicWorld(seed) as world:
        lies = list(Lies)
        several = world.random.sample(lies, world.random.randint(1, len(lies)))
        story = LyingStory(world, reduce(or_, several))
        story.run()
        assert story.check() == 0, "something acknowledged is lost"
        assert story.liar.told
        told = [message for ear in story.ears for message in ear.messages if message.id not in story.old]
        late = sum(message.is_late for message in told)
        figures(f"seed {seed}: {story.liar.told} lies ({story.liar.lies!r}); {late} of {len(told)} came late")


class CircleStory(Story):
    """A group whose secrets change while it talks; one who writes and one who listens are removed, and go on; somebody joins.

    Attributes:
        removed: Who writes on without being a member.
        outcast: Who listens on likewise.
        joiner: Who listens since it is a member.

    """

    def __init__(self, world: TopicWorld) -> None:
        members = [*map(author_key, range(4)), *map(reader_key, range(5))]
        self.circle = Circle(world, TOPIC, members)
        super().__init__(world, self.circle)
        self.steady = list(self.ears)
        self.removed = self.authors[1]
        self.outcast = Ear(self.authors[2].node, TOPIC, Start.ALL, self.circle.fellow(reader_key(4)))
        self.ears.append(self.outcast)
        self.removed_in = self.joined_in = 0
        for at, change in ((15, self.rotate), (30, self.remove), (45, self.join), (60, self.rotate)):
            world.after(at, change)

    def rotate(self) -> None:
        self.circle.change(self.circle.members)

    def remove(self) -> None:
        self.removed_in = self.circle.change(self.circle.members - {self.removed.public_key, reader_key(4)})

    def join(self) -> None:
        node = self.steady[0].node
        if not node.is_up:
            self.world.after(1.0, self.join)
            return
        self.joined_in = self.circle.change(self.circle.members | {author_key(4), reader_key(5)})
        self.authors.append(Author(node, TOPIC, 4, self.circle))
        self.joiner = Ear(node, TOPIC, Start.ALL, self.circle.fellow(reader_key(5)))
        self.ears.append(self.joiner)

    def check(self) -> int:
        for ear in self.ears:
            check_told(ear, self.authors)
        sent = {sent.envelope.id: sent for author in self.authors for sent in author.sent}
        members = [author for author in self.authors if author is not self.removed]
        assert self.outcast.messages
        assert all(sent[message.id].epoch < self.removed_in for message in self.outcast.messages)
        assert all(sent[message.id].epoch >= self.joined_in for message in self.joiner.messages)
        for ear in (*self.steady, self.joiner):
            assert ear.fellow is not None
            known_at = ear.fellow.learnt_at.get(self.removed_in, self.joiner.begun_at)
            of_removed = [m for m in ear.messages if m.series.sender == self.removed.public_key]
            assert all(sent[message.id].at <= known_at for message in of_removed)
        lost = sum(check_complete(ear, members, self.is_held) for ear in self.steady)
        check_complete(self.joiner, members, lambda e: sent[e.id].epoch >= self.joined_in and self.is_held(e))
        return lost


@pytest.mark.parametrize("seed", seeds(10))
def test_a_group_whose_members_change_hears_everything_and_who_is_no_member_nothing(
    seed: int, figures: Figures
) -> None:
    with TopicWorld(seed) as world:
        story = CircleStory(world)
        story.run(80)
        lost = story.check()
        figures(
            f"seed {seed}: {len(story.circle.states)} epochs, {story.kills} nodes killed; {len(story.joiner.messages)} messages"
            f" told to who joined, {len(story.outcast.messages)} to who was removed before it was; {lost} lost to somebody"
        )


def test_a_seed_tells_the_same_story_again() -> None:
    def tell(seed: int) -> int:
        with TopicWorld(seed) as world:
            LyingStory(world, Lies.WITHHOLD | Lies.REORDER | Lies.FORGE).run(20)
            return world.trace

    assert tell(1) == tell(1) != tell(2)


def test_more_than_a_history_holds_reaches_who_listens_and_a_late_joiner_has_the_newest_of_it() -> None:
    with TopicWorld(4) as world:
        world.add_network(NODES)
        hosts, rest = world.hosts_of(TOPIC)[:TOPIC_HOSTS], world.hosts_of(TOPIC)[TOPIC_HOSTS:]
        authors = [Author(node, TOPIC, number) for number, node in enumerate(rest[:3])]
        ear = Ear(rest[3], TOPIC, Start.LIVE)
        world.run_for(5)
        world.weather.loss = LOSS
        for number in range(2 * HISTORY_MESSAGES_MAX // len(authors)):
            for author in authors:
                author.publish()
            world.run_for(0.1)
            if number % 100 == 50:
                world.kill(hosts[0])
                world.after(5, world.restart, hosts[0])
        world.run_for(60)
        check_told(ear, authors)
        assert check_complete(ear, authors, lambda _envelope: True, since=1.0) == 0
        check_bounds(world)

        late = Ear(rest[4], TOPIC, Start.ALL)
        world.run_for(90)
        check_told(late, authors)
        assert check_complete(late, authors, lambda _envelope: True) == 0
        assert len(late.messages) >= HISTORY_MESSAGES_MAX
        assert all(message.is_history for message in late.messages)


def test_what_went_with_a_session_that_was_replaced_is_told_before_anything_more_is_said() -> None:
    with TopicWorld(5) as world:
        world.add_network(NODES)
        rest = world.hosts_of(TOPIC)[TOPIC_HOSTS:]
        author, ear = Author(rest[0], TOPIC, 0), Ear(rest[1], TOPIC, Start.LIVE)
        world.run_for(5)
        author.publish()
        world.run_for(5)
        hosts, before = world.hosts_of(TOPIC)[:TOPIC_HOSTS], world.pushes
        author.publish()
        world.run_until(lambda: world.pushes > before)
        for host in hosts:
            world.replace(host.sessions[ear.node.node_id])
        world.run_for(5)
        assert [message.index for message in ear.messages] == [0, 1]


def test_what_was_acknowledged_outlives_the_end_of_all_hosts_at_that_instant() -> None:
    with TopicWorld(8) as world:
        world.add_network(NODES)
        hosts, rest = world.hosts_of(TOPIC)[:TOPIC_HOSTS], world.hosts_of(TOPIC)[TOPIC_HOSTS:]
        world.weather.disk_s = 0.5
        author = Author(rest[0], TOPIC, 0)
        for _ in range(5):
            sent = author.publish()
            assert sent is not None
            world.run_until(lambda: author.sent[-1].is_accepted)
            world.kill(*hosts)
            for host in hosts:
                world.restart(host, through=rest[:1])
            assert sum(host.holds(sent.envelope) for host in hosts) >= majority(TOPIC_HOSTS)
            world.run_for(10)
        late = Ear(rest[1], TOPIC, Start.ALL)
        world.run_for(10)
        assert [message.index for message in late.messages] == list(range(5))


def test_what_every_host_that_had_it_took_with_it_is_told_to_be_lost() -> None:
    with TopicWorld(6) as world:
        world.add_network(NODES)
        hosts, rest = world.hosts_of(TOPIC)[:TOPIC_HOSTS], world.hosts_of(TOPIC)[TOPIC_HOSTS:]
        author, ear = Author(rest[-1], TOPIC, 0), Ear(rest[-2], TOPIC, Start.LIVE)
        world.run_for(5)
        author.publish()
        world.run_for(2)
        world.silence(ear.node)
        for _ in range(5):
            author.publish()
        world.run_for(1)
        assert all(sent.is_accepted for sent in author.sent)
        world.kill(*hosts)
        world.run_for(15)
        world.heal()
        world.run_for(30)
        author.publish()
        world.run_for(GAP_GIVE_UP_S + 40)

        series = author.sent[0].place.series
        assert ear.indexes(series) == [0, 6]
        assert ear.lost == {series: [Span(1, 6)]}
        assert check_complete(ear, [author], lambda e: any(n.is_up and n.holds(e) for n in rest)) == 5
        with pytest.raises(AssertionError, match="which is there"):
            check_complete(ear, [author], lambda _envelope: True)


def test_the_checks_see_what_they_are_there_for() -> None:
    with TopicWorld(7) as world:
        nodes = world.add_network(3)
        author, ear = Author(world.topic_nodes[0], TOPIC, 0), Ear(world.topic_nodes[1], TOPIC)
        world.run_for(5)
        for _ in range(3):
            author.publish()
        world.run_for(2)
        check_told(ear, [author])
        told = ear.messages
        assert len(told) == len(nodes) == len(ear.events)
        for events, match in (
            ([*told, told[2]], "twice"),
            ([told[1], told[0], told[2]], "came after"),
            ([replace(told[0], id=MessageId(bytes(20)))], "nobody wrote"),
        ):
            ear.events, ear.told_at = list(events), ear.told_at[:1] * len(events)
            ear.began_at = ear.began_at[:1] * len(events)
            with pytest.raises(AssertionError, match=match):
                check_told(ear, [author])
        began = ear.began_at[0]
        received = told[0].received + int(LIVE_S) + 60
        ear.events, ear.told_at = [replace(told[0], received=received)], [received + 1.0]
        with pytest.raises(AssertionError, match="as live"):
            check_told(ear, [author])
        ear.events, ear.told_at = list(told[:2]), [told[0].created] * 2
        ear.began_at = [began, began + LIVE_S + 60]
        with pytest.raises(AssertionError, match="as live"):
            check_told(ear, [author])
        ear.events = [told[0], told[2]]
        with pytest.raises(AssertionError, match="is lost"):
            check_complete(ear, [author], lambda _envelope: False)


def test_a_host_that_names_a_number_far_ahead_silences_no_sender() -> None:
    with TopicWorld(3) as world:
        world.add_network(NODES)
        hosts, rest = world.hosts_of(TOPIC)[:TOPIC_HOSTS], world.hosts_of(TOPIC)[TOPIC_HOSTS:]
        author = Author(rest[0], TOPIC, 0)
        clients = [world.add_client(*rest[1:3]) for _ in range(2)]
        world.run_for(5)
        for _ in range(20):
            author.publish()
        world.run_for(5)
        Liar(hosts[0], Lies.CLAIM, (), share=2.0)
        live = [Ear(node, TOPIC, Start.LIVE) for node in (rest[3], clients[0])]
        late = Ear(clients[1], TOPIC, Start.ALL)
        world.run_for(10)
        since = world.now.mono
        for _ in range(20):
            author.publish()
            world.run_for(0.5)
        world.run_for(60)
        for ear in live:
            assert check_complete(ear, [author], lambda _envelope: True, since=since) == 0
        assert check_complete(late, [author], lambda _envelope: True) == 0
        for ear in (*live, late):
            check_told(ear, [author])


def test_what_the_pusher_withholds_comes_from_the_others_within_seconds(figures: Figures) -> None:
    with TopicWorld(1) as world:
        world.add_network(NODES)
        rest = world.hosts_of(TOPIC)[TOPIC_HOSTS:]
        author = Author(rest[0], TOPIC, 0)
        ears = [Ear(node, TOPIC, Start.LIVE) for node in rest[1:4]]
        world.run_for(5)
        for host in world.hosts_of(TOPIC)[:TOPIC_HOSTS]:
            if host.node_id == ears[0].feed.pusher:
                Liar(host, Lies.WITHHOLD, (), share=1.0)
        for _ in range(60):
            author.publish()
            world.run_for(0.37)
        world.run_for(5)
        for ear in ears:
            check_told(ear, [author])
            assert check_complete(ear, [author], lambda _envelope: True, since=1.0) == 0
            assert not ear.lost
        by_id = {sent.envelope.id: sent.at for sent in author.sent}
        waits = [at - by_id[message.id] for message, at in ears[0].came]
        assert max(waits) <= ANNOUNCE_AFTER_S + 2 * ANNOUNCE_EVERY_S + PULL_GRACE_S + 1
        figures(f"the longest wait for what a pusher withholds: {max(waits):.2f} s")


def test_what_is_on_its_way_by_push_is_hardly_ever_fetched_as_well(figures: Figures) -> None:
    with TopicWorld(2) as world:
        world.add_network(NODES)
        rest = world.hosts_of(TOPIC)[TOPIC_HOSTS + 1 :]
        client = world.add_client(*rest[:2])
        ears = [Ear(node, TOPIC, Start.ALL) for node in (*rest[2:4], client)]
        authors = [Author(node, TOPIC, i) for i, node in enumerate([*rest, client])]
        world.run_for(5)
        for _ in range(50):
            for author in authors:
                author.publish()
                world.run_for(0.04)
        world.run_for(10)
        heard = [ear.feed.counts for ear in ears] + [node.pubsub.heard() for node in rest[:2]]
        for ear in ears:
            check_told(ear, authors)
            assert check_complete(ear, authors, lambda _envelope: True) == 0
        sent = sum(len(author.sent) for author in authors)
        pulled, twice = sum(h.pulled for h in heard), sum(h.duplicates for h in heard)
        assert sent == len(authors) * 50
        assert pulled <= sent * len(heard) // 200
        assert twice <= sent * len(heard) // 200
        figures(f"of {sent * len(heard)} messages that came {pulled} were fetched and {twice} came twice")
