"""What the documents say is so: examples run, commands and links exist, tables agree with the code."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import yzdht
from yzdht import limits
from yzdht.errors import ExitCode
from yzdht.metrics import LIMITS
from yzdht.node import Node
from yzdht.wire.frame import Caps, RecordType
from yzdht.wire.rpc import REQUESTS, Method, Status


if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable


ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sys.executable).parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
USED_NODE = "ws://127.0.0.1:8083"
EXAMPLE_S = 60

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def blocks(document: Path, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(document.read_text()) if found == language]


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text())


def named(document: Path) -> str:
    return str(document.relative_to(ROOT))


EXAMPLES = [
    pytest.param(code, id=f"{named(document)}-{number}")
    for document in DOCUMENTS
    for number, code in enumerate(blocks(document, "python"))
]
COMMANDS = sorted(
    {
        line.split("#")[0].split("<")[0].strip() if "'" not in line else line
        for document in DOCUMENTS
        for block in blocks(document, "sh")
        for line in block.splitlines()
        if line
    }
)


@pytest.fixture
async def node_url() -> AsyncIterator[str]:
    """Three nodes on loopback; the address of the first."""
    async with (
        Node(0, host="127.0.0.1", allow_private=True) as first,
        Node(0, host="127.0.0.1", allow_private=True, bootstrap=[f"ws://127.0.0.1:{first.port}"]),
        Node(0, host="127.0.0.1", allow_private=True, bootstrap=[f"ws://127.0.0.1:{first.port}"]),
    ):
        yield f"ws://127.0.0.1:{first.port}"


@pytest.mark.net
@pytest.mark.process
@pytest.mark.parametrize("code", EXAMPLES)
async def test_an_example_runs_against_real_nodes(code: str, node_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code.replace(USED_NODE, node_url),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    stdout, stderr = await asyncio.wait_for(process.communicate(), EXAMPLE_S)

    assert process.returncode == 0, stderr.decode()
    assert stdout
    assert not stderr, stderr.decode()


def test_the_readme_shows_the_python_api() -> None:
    [example] = blocks(ROOT / "README.md", "python")

    assert USED_NODE in example


# Commands


def words_of(program: str) -> list[list[str]]:
    """The words of every documented call of a program, without redirections and without what is piped into it."""
    calls = [part.split() for line in COMMANDS for part in line.split("|")]
    return [words for words in calls if words and words[0] == program]


@cache
def help_of(*command: str) -> str:
    done = subprocess.run(
        [PROGRAMS / command[0], *command[1:], "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def subcommands(text: str) -> list[str]:
    _, _, listed = text.partition("Commands:\n")
    return re.findall(r"^  (\w+) ", listed.partition("\n\n")[0], re.MULTILINE)


def helps_of_yz() -> dict[str, str]:
    helps = {"yz": help_of("yz")}
    for name in subcommands(helps["yz"]):
        helps[name] = help_of("yz", name)
        for inner in subcommands(helps[name]):
            helps[f"{name} {inner}"] = help_of("yz", name, inner)
    return helps


def options(texts: Iterable[str]) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]+", " ".join(texts)))


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {words[1] for words in words_of("make")}

    assert used
    assert used <= targets


@pytest.mark.process
def test_every_call_of_yz_names_a_command_with_its_options() -> None:
    helps = helps_of_yz()
    calls = words_of("yz")

    assert calls
    for words in calls:
        name = next(word for word in words[1:] if word in helps)
        if " ".join(words[words.index(name) :][:2]) in helps:
            name = " ".join(words[words.index(name) :][:2])
        assert options(words) <= options([helps["yz"], helps[name]]), words


@pytest.mark.process
def test_every_option_of_both_commands_is_documented_and_no_other() -> None:
    real = options([help_of("yz-node"), *helps_of_yz().values()])
    documented = options([(ROOT / "docs" / "cli.md").read_text()])

    assert documented == real


@pytest.mark.process
def test_every_command_of_yz_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()

    assert [name for name in helps_of_yz() if f"yz {name}" not in text and name != "yz"] == []


def test_calls_of_yz_node_use_its_options() -> None:
    calls = words_of("yz-node")

    assert calls
    assert options(" ".join(words) for words in calls) <= options([help_of("yz-node")])


# Links


def slugs(document: Path) -> set[str]:
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(prose(document)))
    return {title.strip().replace(" ", "-") for title in kept}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(prose(document)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in slugs(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_files_that_a_document_names_exist(document: Path) -> None:
    paths = re.findall(r"`((?:tests|yzdht|docs|web|bench|requirements)/[\w./-]*)`", prose(document))

    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    pages = sorted(page.name for page in folder.glob("0*.md"))

    assert re.findall(r"\((0\d+-[\w-]+\.md)\)", (folder / "README.md").read_text()) == pages
    assert [int(name[:4]) for name in pages] == list(range(1, 1 + len(pages)))


# Tables


def rows(document: str, pattern: str) -> list[tuple[str, ...]]:
    return re.findall(pattern, (ROOT / document).read_text(), re.MULTILINE)


def test_every_exit_code_is_documented() -> None:
    table = rows("docs/cli.md", r"^\| (\d+) \| ([A-Z_]+) \|")

    assert [(int(code), name) for code, name in table] == [(int(code), code.name) for code in ExitCode]


def test_the_public_names_are_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text()

    assert [name for name in yzdht.__all__ if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize(
    "function", [yzdht.Node.__init__, yzdht.Client.connect, yzdht.Client.store, yzdht.Client.get]
)
def test_every_parameter_of_the_main_calls_is_documented(function: Callable[..., object]) -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    parameters = set(inspect.signature(function).parameters) - {"self"}

    assert {p for p in parameters if not re.search(rf"\b{p}\b", text)} == set()


def test_every_public_error_stands_under_its_parent() -> None:
    table = {name: parent for name, parent in rows("docs/api.md", r"^\| `(\w+)` \| `(\w+)` \|")}  # noqa: C416 - pairs, for mypy
    public = {name: getattr(yzdht, name) for name in yzdht.__all__}
    errors = {n: c for n, c in public.items() if isinstance(c, type) and issubclass(c, yzdht.YzError)}

    assert table.keys() == errors.keys() - {"YzError"}
    for name, parent in table.items():
        assert issubclass(errors[name], errors[parent]), name


def test_every_bound_that_a_node_counts_is_documented() -> None:
    source = "".join(path.read_text() for path in (ROOT / "yzdht").rglob("*.py"))
    kinds = set(re.findall(r'(?:add|Refusal)\("rate_limited", "(\w+)"', source)) | {
        kind.replace(" ", "_") for kinds in LIMITS.values() for kind in kinds
    }
    table = (
        (ROOT / "docs" / "operating.md").read_text().partition("which bound was met:")[2].partition("## ")[0]
    )

    assert len(kinds) > len(LIMITS)
    assert {
        kind for row in table.splitlines() if row.startswith("| `") for kind in re.findall(r"`(\w+)`", row)
    } == kinds


def test_statuses_are_those_of_the_protocol_page() -> None:
    table = rows("PROTOCOL.md", r"^\| (\d+) \| ([A-Z_]+) \|")

    assert [(int(number), name) for number, name in table] == [(int(s), s.name) for s in Status]


def test_record_types_are_those_of_the_protocol_page() -> None:
    table = rows("PROTOCOL.md", r"^\| 0x([01]\d) \| ([a-z_]+) \|")

    assert [(int(number, 16), name) for number, name in table] == [
        (int(t), t.name.lower()) for t in RecordType
    ]


def test_methods_of_the_protocol_page_are_those_that_nodes_answer() -> None:
    table = {Method(int(number, 16)) for number, _ in rows("PROTOCOL.md", r"^\| 0x(\d\d) \| ([A-Z_]+) \|")}

    assert table == set(REQUESTS)


def test_capability_bits_are_those_of_the_protocol_page() -> None:
    table = {name: int(bit) for bit, name in rows("PROTOCOL.md", r"^\| (\d+) \| ([a-z]+) \|")}
    later = {Caps.COMPRESSION, Caps.SELECTIVE_SYNC, Caps.ROW_LEVEL_SECURITY}

    assert table == {bit.name.lower(): bit.bit_length() - 1 for bit in Caps if bit not in later and bit.name}


# Figures of topics

WORDS = {
    "half a second": 0.5,
    "once a second": 1,
    "a minute": 60,
    "once a minute": 60,
    "every minute": 60,
    "an hour": 3_600,
    "a quarter": 4,
    "four": 4,
}
KIB, MIB, GIB, MINUTES, HOURS = 1 << 10, 1 << 20, 1 << 30, limits.MINUTE_S, limits.HOUR_S

RECEIVING = [
    (r"h = min\((\d), such", [limits.TOPIC_HOSTS]),
    (r"at most ([\d,]+) bytes, so that data is at most ([\d,]+)\.",
     [limits.PUBSUB_ENVELOPE_BYTES_MAX, limits.PUBSUB_DATA_BYTES_MAX]),
    (r"\[hole…\] \(≤ (\d+)\)\]…\]` \(≤ (\d+) rows", [limits.HOLES_MAX, limits.SUMMARY_ROWS_MAX]),
    (r"up to ([\d,]+) below a row with (\d+) holes", [limits.CUT_ROWS_BELOW_MAX, limits.HOLES_MAX]),
    (r"among the (\d) nodes nearest to it that have capability 7", [limits.HOST_RANGE]),
    (r"A history holds ([\d,]+) messages, (\d+) MiB and (\d+) hours",
     [limits.HISTORY_MESSAGES_MAX, limits.HISTORY_BYTES_MAX / MIB, limits.HISTORY_S / HOURS]),
    (r"a bringer that has more than (a quarter) of it", [limits.HISTORY_PART_OF_ONE_BRINGER]),
    (r"what changed, of ≤ (\d+) topics", [limits.TOPICS_PER_ANNOUNCEMENT_MAX]),
    (r"(once a second) at most, all topics in one record, (\d+) KiB at most",
     [limits.ANNOUNCE_EVERY_S, limits.ANNOUNCEMENT_BYTES_MAX / KIB]),
    (r"a subscriber SHOULD wait (half a second) for it", [limits.PULL_GRACE_S]),
    (r"every (\d+) s while there are messages, every (\d+) minutes while there are only subscribers",
     [limits.SYNC_EVERY_S, limits.SYNC_IDLE_EVERY_S / MINUTES]),
    (r"until the hosts have what it has, and for (an hour)", [limits.HANDED_OVER_KEPT_S]),
    (r"writers \[pk33…\] \(≤ (\d+)", [limits.TOPIC_WRITERS_MAX]),
    (r"after every answer but 0, and (once a minute)", [limits.POLICY_SHOWN_EVERY_S]),
    (r"for as long as there is room: (\d+) MiB", [limits.POLICIES_BYTES_MAX / MIB]),
    (r"at the start, (every minute) while it listens", [limits.SUBSCRIPTION_LOOK_S]),
    (r"replay window of ([\d,]+) per series", [limits.REPLAY_WINDOW]),
    (r"A window is kept for (\d+) h after the last message", [limits.REPLAY_KEPT_S / HOURS]),
    (r"of ([\d,]+) sessions of a sender, which is what hosts can hold, and of ([\d,]+) series of a topic",
     [limits.SENDER_SESSIONS_MAX, limits.CURSOR_SERIES_MAX]),
    (r"within (\d+) minutes of now, and dropped if it is older than (\d+) h",
     [limits.LIVE_S / MINUTES, limits.REPLAY_KEPT_S / HOURS]),
    (r"more than (\d+) minutes before the subscription began", [limits.LIVE_S / MINUTES]),
    (r"looked for at all hosts for (\d+) s, (\d+) s at most while somebody claims it",
     [limits.GAP_GIVE_UP_S, limits.GAP_GIVE_UP_S_MAX]),
    (r"looked for from the beginning, (\d+) times at most", [limits.GAP_AGAIN_MAX]),
    (r"open for (\d+) h after the next epoch was seen", [limits.REPLAY_KEPT_S / HOURS]),
    (r"an epoch that is not known waits for (\d+) s", [limits.EPOCH_GIVE_UP_S]),
    (r"at once, again after (\d+) s, and after each look in vain twice as long, up to (a minute)",
     [limits.WANTS_EPOCHS_EVERY_S, limits.GROUP_LOOK_AGAIN_S]),
    (r"up to (\d+) s after looks that nodes could not answer", [limits.GROUP_LOOK_UNREAD_S]),
    (r"Of more than ([\d,]+) messages, or (\d+) MiB, that wait for", [limits.WAITING_MESSAGES_MAX, limits.WAITING_BYTES_MAX / MIB]),
]  # fmt: skip
BOUNDS = [
    (r"messages published per peer, .*?([\d,]+)/s, bursts of ([\d,]+); (\d+) MiB/s, bursts of (\d+) MiB; .*?; (four) times that",
     [limits.PUBLISHES_PER_S, limits.PUBLISH_BURST, limits.PUBLISH_BYTES_PER_S / MIB,
      limits.PUBLISH_BURST_BYTES / MIB, limits.PUBLISH_GROUP_ALLOWANCE]),
    (r"of histories per peer \| (\d+) MiB/s, bursts of (\d+) MiB, (four) times that .*? counts (\d+) KiB",
     [limits.BACKLOG_BYTES_PER_S / MIB, limits.BACKLOG_BURST_BYTES / MIB, limits.BACKLOG_GROUP_ALLOWANCE,
      limits.BACKLOG_CHARGE_BYTES_PER_RANGE / KIB]),
    (r"policies of topics that a process knows \| (\d+) MiB", [limits.POLICIES_BYTES_MAX / MIB]),
    (r"topics, and bytes of histories, at a host \| ([\d,]+) and (\d+) GiB; (a quarter) of each per bringer",
     [limits.TOPICS_MAX, limits.PUBSUB_BYTES_MAX / GIB, limits.PUBSUB_PART_OF_ONE_BRINGER]),
    (r"topics that a host knows, with messages or with subscribers alone \| ([\d,]+)", [limits.HOSTED_TOPICS_MAX]),
    (r"subscriptions at a host \| ([\d,]+); ([\d,]+) of one bringer; ([\d,]+) of a topic, .*?; ([\d,]+) of a session",
     [limits.SUBSCRIPTIONS_MAX, limits.SUBSCRIPTIONS_PER_BRINGER_MAX, limits.SUBSCRIBERS_PER_TOPIC_MAX,
      limits.TOPICS_PER_SESSION_MAX]),
    (r"fetches from others at a time \| (\d+), half of them for the (\d) nodes near each alone; of a topic from (\d+) nodes",
     [limits.PULLED_TOPICS_MAX, limits.HOST_RANGE, limits.FETCH_SOURCES_MAX]),
    (r"topics that a node listens to for its clients \| ([\d,]+); (a quarter) of them of one bringer",
     [limits.EDGE_TOPICS_MAX, limits.EDGE_PART_OF_ONE_BRINGER]),
    (r"messages, BACKLOG, SUBSCRIBE that wait for hosts \| ([\d,]+), ([\d,]+), ([\d,]+); (a quarter) of each .*? has ([\d,]+) messages",
     [limits.EDGE_PUBLISHES_MAX, limits.EDGE_BACKLOGS_MAX, limits.EDGE_WAITING_MAX,
      limits.EDGE_PART_OF_ONE_BRINGER, limits.PUBLISHES_MAX]),
]  # fmt: skip


def section_of_protocol(number: int) -> str:
    """Its text, with a space for each end of a line."""
    _, _, rest = (ROOT / "PROTOCOL.md").read_text().partition(f"\n## {number}. ")
    return " ".join(rest.partition("\n## ")[0].split())


@pytest.mark.parametrize(
    ("section", "sentence", "bounds"),
    [(11, *row) for row in RECEIVING] + [(16, *row) for row in BOUNDS],
)
def test_figures_of_topics_on_the_protocol_page_are_the_bounds(
    section: int, sentence: str, bounds: list[float]
) -> None:
    [found] = re.finditer(sentence, section_of_protocol(section))
    figures = [WORDS[text] if text in WORDS else int(text.replace(",", "")) for text in found.groups()]

    assert figures == bounds
