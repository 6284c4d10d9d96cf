"""What `yz doctor` looks at, in which order, and what it makes of it.

Works with a node that runs, hangs or does not run, and on a folder that is damaged; changes nothing there.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from yzdht.cli.certificate import check_certificate
from yzdht.cli.doctor_folder import check_database, check_disk, check_folder, saved_peers
from yzdht.cli.doctor_network import (
    Network,
    finding_of_clock,
    findings_of_bootstrap,
    other_machines,
    visit_all,
)
from yzdht.cli.doctor_process import (
    Talk,
    check_errors,
    check_files,
    check_joined,
    check_port,
    check_process,
    check_reach,
    check_readiness,
    check_version,
    talk_to,
)
from yzdht.cli.findings import Outcome, problem_of
from yzdht.cli.local_node import default_folders, default_root, look_at, parse_http
from yzdht.cli.network_key import read_network_key
from yzdht.cli.progress import progress_aside
from yzdht.cli.units import plain
from yzdht.config import DEFAULT_HOST, DEFAULT_PORT, parse_bootstrap
from yzdht.errors import ExitCode, NoNode, StoreError, UsageError
from yzdht.limits import CHECKED_CLOCKS_MAX


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from yzdht.cli.findings import Finding
    from yzdht.cli.local_node import Tenancy
    from yzdht.cli.settings import Settings
    from yzdht.config import Bootstrap


_PORT_MAX = 65_535
_NAMED_PORT = re.compile(r"node-([0-9]{1,5})")


class Question(NamedTuple):
    """What was asked for.

    Attributes:
        settings: The options before the command.
        data: The node's data folder; None for the only one.
        http: Its status page, instead.
        port: Where it is to listen, if it does not run; None for where it did.
        bootstrap: Nodes to look at, `URL[#NODE_ID]`.

    """

    settings: Settings
    data: Path | None
    http: str | None
    port: int | None
    bootstrap: tuple[str, ...]


def examine(question: Question) -> ExitCode:
    """Look at everything and tell it.

    Returns:
        FAILURE if there is a problem.

    Raises:
        UsageError: An option does not parse, or several nodes could be meant.
        YzError: The network key cannot be read.

    """
    others = _Others(
        [parse_bootstrap(text) for text in question.bootstrap],
        read_network_key(question.settings.network_key_path),
    )
    patient = _locate(question.data, question.http)
    screen = question.settings.screen
    told: list[Finding] = []
    for doing, check in _checks(patient, question, others):
        with progress_aside(doing):
            found = list(check())
        told += found
        if not screen.is_json:
            for line in (line for finding in found for line in finding.lines()):
                screen.line(line)
    return _conclude(question.settings, patient, told)


class _Others(NamedTuple):
    """Nodes to look at, and the key of their network."""

    bootstraps: Sequence[Bootstrap]
    key: bytes | None


@dataclass(slots=True)
class _Patient:
    """What is looked at.

    Attributes:
        folder: The data folder; None if it is not known.
        http: Where the node is asked; None for nowhere.
        tenancy: Who has the folder; None if that is not known.
        findings: What went wrong on the way here.
        talk: What the node said, once it was asked.

    """

    folder: Path | None = None
    http: str | None = None
    tenancy: Tenancy | None = None
    findings: list[Finding] = field(default_factory=list)
    talk: Talk = field(default_factory=Talk)

    @property
    def is_running(self) -> bool:
        return self.talk.status is not None or (self.tenancy is not None and self.tenancy.is_held)


def _locate(data: Path | None, http: str | None) -> _Patient:
    """Which node is meant; unlike other commands, this one goes on without it."""
    if http is not None:
        if data is not None:
            raise UsageError("--data and --http exclude each other", hint="choose one")
        parse_http(http)
        return _Patient(http=http)
    return _looked_at(data.absolute()) if data is not None else _only_folder()


def _looked_at(path: Path) -> _Patient:
    patient = _Patient(folder=path)
    try:
        patient.tenancy = look_at(path)
    except NoNode as error:
        patient.folder = None
        patient.findings.append(problem_of("data folder", error))
    except StoreError as error:
        patient.findings.append(problem_of("data folder", error))
    run = None if patient.tenancy is None else patient.tenancy.run
    if run is not None and patient.tenancy is not None and patient.tenancy.is_held:
        patient.http = run.http
    return patient


def _only_folder() -> _Patient:
    """The node that runs, or that ran; several of the same standing have to be told apart by whoever asks."""
    patients = [_looked_at(path) for path in default_folders()]
    if not patients:
        return _Patient()
    held = [p for p in patients if p.tenancy is not None and p.tenancy.is_held]
    candidates = held or patients
    if len(candidates) > 1:
        names = ", ".join(plain(str(patient.folder)) for patient in candidates)
        verb = "nodes run" if held else "data folders are"
        raise UsageError(f"{len(candidates)} {verb} here: {names}", hint="choose one with --data DIR")
    return candidates[0]


def _checks(
    patient: _Patient, question: Question, others: _Others
) -> Iterator[tuple[str, Callable[[], Iterator[Finding]]]]:
    """What is done, and what that is called while it lasts; each is made once those before it are done."""
    if patient.http is not None:
        yield "asking the node", lambda: _talk(patient)
    yield "looking at the node", lambda: check_version(patient.talk)
    yield "looking at the node", lambda: check_process(patient.tenancy, patient.talk)
    yield "looking at the data folder", lambda: iter(patient.findings)
    folder = patient.folder
    if folder is not None:
        yield "looking at the data folder", lambda: check_folder(folder)
        if not patient.is_running:
            yield "reading the database through", lambda: check_database(folder)
    if folder is not None or patient.http is None:
        yield "looking at the disk", lambda: check_disk(folder or default_root())
        yield "looking at the process", lambda: check_files(patient.tenancy, patient.talk)
        yield "trying the port", lambda: _check_port(patient, question.port)
    yield "asking other nodes", lambda: _check_others(patient, question.settings, others)
    if patient.is_running:
        yield "asking the node", lambda: check_readiness(patient.talk)
        yield "asking the node", lambda: check_reach(patient.talk)
    now = time.time()  # noqa: TID251 - to say how long ago something was
    yield "asking the node", lambda: check_certificate(patient.talk.status, now)
    yield "asking the node", lambda: check_errors(patient.talk, now)


def _talk(patient: _Patient) -> Iterator[Finding]:
    """Ask the node; its folder is known from what it says if it is of this machine."""
    assert patient.http is not None
    patient.talk = talk_to(patient.http, None if patient.tenancy is None else patient.tenancy.run)
    status = patient.talk.status
    if patient.folder is None and status is not None and status.data is not None:
        with contextlib.suppress(NoNode, StoreError):
            tenancy = look_at(Path(status.data))
            if tenancy.is_held and tenancy.run is not None and tenancy.run.node_id == status.node_id:
                patient.folder, patient.tenancy = tenancy.path, tenancy
    return iter(())


def _check_port(patient: _Patient, port: int | None) -> Iterator[Finding]:
    run = None if patient.tenancy is None else patient.tenancy.run
    if run is not None and (patient.is_running or port is None):
        return check_port(run.host, run.port, is_running=patient.is_running)
    if patient.is_running:
        return iter(())  # it does not say where it listens
    named = _NAMED_PORT.fullmatch(patient.folder.name) if patient.folder is not None else None
    named_port = int(named[1]) if named is not None and 0 < int(named[1]) <= _PORT_MAX else DEFAULT_PORT
    return check_port(DEFAULT_HOST, port or named_port, is_running=False)


def _check_others(patient: _Patient, settings: Settings, others: _Others) -> Iterator[Finding]:
    """Whether nodes to join through answer, and what the others' clocks say."""
    status = patient.talk.status
    bootstraps = others.bootstraps
    network = Network(settings.network if status is None else status.network, others.key, settings.ca)
    named = [bootstrap.url for bootstrap in bootstraps]
    known = other_machines(_known_urls(patient))[: max(0, CHECKED_CLOCKS_MAX - len(named))]
    visits = visit_all(list(dict.fromkeys([*named, *known])), network)
    yield from check_joined(patient.talk)
    yield from findings_of_bootstrap(bootstraps, visits)
    ready = patient.talk.ready
    yield finding_of_clock(visits, "" if ready is None else ready.reason)


def _known_urls(patient: _Patient) -> list[str]:
    """Addresses of nodes that this one is connected to, or knew."""
    if patient.talk.peers is not None:
        return [peer.url for peer in patient.talk.peers.peers if peer.url and not peer.is_client]
    if patient.folder is None:
        return []
    return [peer.addresses[0].url for peer in saved_peers(patient.folder) if peer.addresses]


def _conclude(settings: Settings, patient: _Patient, told: list[Finding]) -> ExitCode:
    problems = sum(finding.outcome is Outcome.PROBLEM for finding in told)
    warnings = sum(finding.outcome is Outcome.WARNING for finding in told)
    screen = settings.screen
    if screen.is_json:
        screen.object(
            {
                "data": None if patient.folder is None else str(patient.folder),
                "http": patient.http,
                "running": patient.is_running,
                "problems": problems,
                "warnings": warnings,
                "checks": [finding.view() for finding in told],
            }
        )
    else:
        screen.line("")
        screen.line(_sum(problems, warnings))
    return ExitCode.FAILURE if problems else ExitCode.OK


def _sum(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "nothing is wrong"
    counts = [(problems, "problem"), (warnings, "warning")]
    return " and ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count)
