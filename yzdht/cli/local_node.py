"""The node of this machine: which one is meant, whether its process lives, and what it answers over HTTP.

A node is found by its data folder, by its status page, or because it is the only one among the person's data. Whether a
process has a folder is told by the folder's lock alone: process ids are used again, and differ between containers.
Refuses answers that are too long or too late; changes nothing in a folder that it looks at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shlex
import socket
import stat
import threading
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from yzdht.cli.answers import RefusalView, RunView, decode_answer
from yzdht.cli.units import plain
from yzdht.errors import NodeSilent, NoNode, StoreError, UnsafeFile, UsageError
from yzdht.limits import FOLDERS_LOOKED_AT_MAX, NODE_ANSWER_S_MAX, RUN_BYTES_MAX
from yzdht.store.files import as_store_error


if TYPE_CHECKING:
    from pathlib import Path


_T = TypeVar("_T")


class Attributed(Protocol):
    """An answer that says whose it is."""

    @property
    def node_id(self) -> str:
        """In hex; empty if the node did not say it."""


_Attributed = TypeVar("_Attributed", bound=Attributed)

RUN_NAME = "run.json"
LOCK_NAME = "lock"
VERSION_NAME = "version"

_OK = 200
_PID_BYTES_MAX = 20
_FOREIGN_HINT = "run this as the user of the node, or name its status page with --http URL"


class Reply(NamedTuple):
    """What a page answered."""

    status: int
    body: bytes


class Tenancy(NamedTuple):
    """Who has a data folder.

    Attributes:
        path: The folder.
        is_held: True while a process has it.
        holder: Its process id as the lock tells it, None for unknown.
        run: What the process says of itself; what a killed one said if `is_held` is false.

    """

    path: Path
    is_held: bool
    holder: int | None
    run: RunView | None

    @property
    def start_hint(self) -> str:
        """How to start a node there."""
        return f"start it with: yz-node --data {shlex.quote(str(self.path))}, and the options it had"


class Found(NamedTuple):
    """A node of this machine.

    Attributes:
        http: Where its status page is.
        tenancy: Its data folder, if that is known.

    """

    http: str
    tenancy: Tenancy | None


# Folders


def default_root() -> Path:
    """Where the folders of nodes are that were not told another place."""
    import platformdirs  # noqa: PLC0415 - not needed by --help

    return platformdirs.user_data_path("yzdht", appauthor=False)


def default_folders() -> list[Path]:
    """Data folders below `default_root`, sorted; FOLDERS_LOOKED_AT_MAX at most.

    Raises:
        StoreError: The root cannot be read.

    """
    root = default_root()
    try:
        if not root.is_dir():
            return []
        found = sorted(path for path in root.glob("node-*") if path.is_dir())
    except OSError as error:
        raise as_store_error(error, root) from error
    return found[:FOLDERS_LOOKED_AT_MAX]


def look_at(path: Path) -> Tenancy:
    """Who has a data folder.

    Raises:
        NoNode: There is no such folder.
        UnsafeFile: Others could have written what is there.
        StoreError: It cannot be read.

    """
    if not path.is_dir():
        raise NoNode(f"there is no data folder {path}", hint="check the path after --data")
    run = _read_run(path / RUN_NAME)  # before the lock: a process that ends lets go of both in that order
    is_held, holder = _lock_of(path / LOCK_NAME)
    return Tenancy(path, is_held, holder, run)


def foreign_owner(path: Path) -> str | None:
    """Who has a folder, if that is not the user of this process; None if it is, or cannot be told.

    A node's files are for its own user: root, too, looks at them in that user's name, or leaves files there that the
    node cannot use.
    """
    try:
        owner = path.stat().st_uid
    except OSError:
        return None
    if owner == os.geteuid():
        return None
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"user {owner}"


def as_owner(owner: str, command: str) -> str:
    """What to type to run a command as who has a folder, as `foreign_owner` names it."""
    account = f"#{owner.removeprefix('user ')}" if owner.startswith("user ") else owner
    return f"run this as {owner}: sudo -u {shlex.quote(account)} {command}"


def _read_run(path: Path) -> RunView | None:
    """Whoever owns the file: it is no secret, and what it says is typed and shown escaped."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path} is not a file", hint="check the path")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UnsafeFile(f"{path} can be changed by others", hint=f"run: chmod 600 {path}")
        raw = file.read(RUN_BYTES_MAX + 1)
    if len(raw) > RUN_BYTES_MAX:
        raise StoreError(f"{path} is longer than {RUN_BYTES_MAX:,} bytes", hint="restart the node")
    return decode_run(raw, path)


def decode_run(raw: bytes, path: Path) -> RunView:
    """Read what a node says of itself in its folder.

    Args:
        raw: The bytes of `run.json`; their length is bounded already.
        path: Where they stood.

    Raises:
        StoreError: They are damaged.

    """
    try:
        return msgspec.json.decode(raw, type=RunView)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StoreError(
            f"{path} is damaged", hint="name the status page of the node with --http URL, or restart the node"
        ) from None


def _unreadable(path: Path, error: OSError) -> StoreError:
    if isinstance(error, PermissionError):
        return StoreError(f"{path}: {error.strerror}", hint=_FOREIGN_HINT)
    return as_store_error(error, path)


def _lock_of(path: Path) -> tuple[bool, int | None]:
    """Whether somebody has the lock, and who. It is had for a moment itself if nobody does."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False, None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        digits = os.pread(lock, _PID_BYTES_MAX, 0).strip()
        return True, int(digits) if digits.isdigit() else None
    except OSError as error:
        raise as_store_error(error, path) from error
    finally:
        os.close(lock)
    return False, None


# Which node


def find_node(data: Path | None, http: str | None) -> Found:
    """The node that is meant.

    Args:
        data: Its data folder.
        http: Its status page.

    Raises:
        UsageError: Both are given, the URL is none, or neither is given and several nodes run.
        NoNode: It does not run, or has no status page.
        StoreError: Its folder cannot be read.

    """
    if http is not None:
        if data is not None:
            raise UsageError("--data and --http exclude each other", hint="choose one")
        parse_http(http)
        return Found(http, None)
    if data is not None:
        return _found(look_at(data.absolute()))
    return _found(only_node())


def only_node() -> Tenancy:
    """The only node that runs among the person's data.

    Raises:
        UsageError: There are several.
        NoNode: There is none.

    """
    folders = _readable_folders()
    held = [folder for folder in folders if folder.is_held]
    if len(held) > 1:
        names = ", ".join(_name(folder) for folder in held)
        raise UsageError(f"{len(held)} nodes run here: {names}", hint="choose one with --data DIR")
    if held:
        return held[0]
    killed = [folder for folder in folders if folder.run is not None]
    if len(killed) == 1:
        return killed[0]  # to say what became of it
    raise NoNode(
        f"no node of yours runs below {default_root()}",
        hint="name it with --data DIR or --http URL, or start one with: yz-node",
    )


def _readable_folders() -> list[Tenancy]:
    found: list[Tenancy] = []
    for path in default_folders():
        with contextlib.suppress(StoreError):  # whoever runs there has to be named
            found.append(look_at(path))
    return found


def _name(folder: Tenancy) -> str:
    return f"{folder.path}" + (f" (port {folder.run.port})" if folder.run else "")


def _found(tenancy: Tenancy) -> Found:
    """Where the status page of a folder's node is.

    Raises:
        NoNode: Nobody has the folder, or whoever does has no page.

    """
    path, run = tenancy.path, tenancy.run
    if not tenancy.is_held:
        if run is None:
            raise NoNode(f"no node runs in {path}", hint=tenancy.start_hint)
        raise NoNode(
            f"no node runs in {path}: process {run.pid} ended without saying so, killed or with its machine",
            hint=tenancy.start_hint,
        )
    if run is None:
        raise NoNode(
            f"process {tenancy.holder or 'unknown'} has {path} and does not say where it is",
            hint="if it has just been started, try again in some seconds",
        )
    if run.http is None:
        raise NoNode(
            f"the node in {path}, process {run.pid}, has no status page to ask",
            hint="start it without --no-http",
        )
    return Found(run.http, tenancy)


# Asking


def parse_http(url: str) -> tuple[str, int]:
    """Host and port of a status page.

    Raises:
        UsageError: It is no `http://HOST:PORT`.

    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    is_more = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "http" or not host or not port or is_more or not host.isascii():
        raise UsageError(
            f"{url[:80]!r} is not the address of a status page", hint="write it as http://127.0.0.1:8084"
        )
    return host, port


def ask(url: str, path: str, shape: type[_T], bytes_max: int) -> tuple[_T, bytes]:
    """Read one page of a node.

    Args:
        url: Its status page.
        path: Such as `/status.json`.
        shape: What it answers.
        bytes_max: More is refused.

    Returns:
        The answer typed, and as it came.

    Raises:
        NoNode: It does not answer, or not so.
        UsageError: The URL is none.

    """
    reply = fetch(url, path, bytes_max)
    if reply.status != _OK:
        refusal = decode_answer(reply.body, RefusalView, url)
        raise NoNode(f"{url}: {plain(refusal.error)}", hint=plain(refusal.hint))
    return decode_answer(reply.body, shape, url), reply.body


def ask_found(found: Found, path: str, shape: type[_Attributed], bytes_max: int) -> tuple[_Attributed, bytes]:
    """Read one page of the node that was found, and of no other; arguments and errors as for `ask`.

    Raises:
        NoNode: Also if another node answers where the folder says that its node is.

    """
    view, raw = ask(found.http, path, shape, bytes_max)
    if found.tenancy is not None and found.tenancy.run is not None:
        refuse_another(view, found.tenancy.run, found.http)
    return view, raw


def refuse_another(view: Attributed, run: RunView, url: str) -> None:
    """Refuse the answer of another node: its page has the port that the page of the one that is meant had.

    Args:
        view: What was answered.
        run: What the node that is meant says of itself in its folder.
        url: Who was asked.

    Raises:
        NoNode: It is another node's.

    """
    if view.node_id and view.node_id != run.node_id:
        raise NoNode(
            f"another node answers at {url}: {view.node_id[:16]}, not {run.node_id[:16]}",
            hint="if this one has just been started, try again in some seconds; else restart it",
        )


def fetch(url: str, path: str, bytes_max: int, patience_s: float = NODE_ANSWER_S_MAX) -> Reply:
    """Get one page, whatever its status.

    Args:
        url: The node's status page.
        path: Of the page.
        bytes_max: More is refused.
        patience_s: Seconds to connect in, and as many again to answer in.

    Raises:
        NodeSilent: It took the connection and did not answer in time.
        NoNode: It could not be reached, or answers too much.
        UsageError: The URL is none.

    """
    host, port = parse_http(url)
    connection = HTTPConnection(host, port, timeout=patience_s)
    late = threading.Event()
    timer: threading.Timer | None = None
    try:
        connection.connect()
        timer = threading.Timer(patience_s, _cut, (connection.sock, late))
        timer.daemon = True
        timer.start()  # the timeout of a socket is of one read, and a byte now and then would satisfy it
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(bytes_max + 1)
    except (OSError, HTTPException, UnicodeError) as error:
        is_late = late.is_set() or (timer is not None and isinstance(error, TimeoutError))
        raise (_silent(url) if is_late else _explain(url, error)) from error
    finally:
        if timer is not None:
            timer.cancel()
        connection.close()
    if late.is_set():
        raise _silent(url)
    if len(body) > bytes_max:
        raise NoNode(f"{url}{path} is longer than {bytes_max:,} bytes", hint="check that a node is there")
    return Reply(response.status, body)


def _cut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _silent(url: str) -> NodeSilent:
    return NodeSilent(f"{url} takes connections and does not answer")


def _explain(url: str, error: OSError | HTTPException | UnicodeError) -> NoNode:
    hint = "check that the node runs, and the address"
    if isinstance(error, ConnectionRefusedError):
        return NoNode(f"nobody listens at {url}", hint=hint)
    if isinstance(error, TimeoutError):
        return NoNode(f"{url} cannot be reached: timed out", hint=hint)
    if isinstance(error, OSError) and not isinstance(error, HTTPException):
        return NoNode(f"{url} cannot be reached: {error.strerror or error}", hint=hint)
    return NoNode(f"{url} does not speak HTTP", hint=hint)
