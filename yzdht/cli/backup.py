"""`yz backup`: save a node's data folder while it runs, and a person's home, into one file; and get them back."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.manual import LOCAL, manual
from yzdht.cli.settings import KEY_NAME as HOME_KEY_NAME, Settings, json_option
from yzdht.errors import ExitCode, StoreError, UsageError
from yzdht.http.units import show_bytes
from yzdht.version import VERSION


if TYPE_CHECKING:
    from collections.abc import Sequence

    from yzdht.cli.archive import Manifest, Source


_NODE, _HOME = "node", "home"
_NODE_KEY_NAME = "node.key"
_RECORDS_NAME, _MARKS_NAME, _GROUPS_NAME = "records.sqlite", "marks.sqlite", "groups.sqlite"
_NODE_FILES = ("version", _NODE_KEY_NAME, "state", _RECORDS_NAME)
_HOME_FILES = (HOME_KEY_NAME, _MARKS_NAME, _GROUPS_NAME)
_DATABASES = frozenset({_RECORDS_NAME, _MARKS_NAME, _GROUPS_NAME})
_NAMES = {_NODE: frozenset(_NODE_FILES), _HOME: frozenset(_HOME_FILES)}


@click.command(
    epilog=manual(
        "yz backup yz.tar",
        "yz backup --only home yz-home.tar",
        "yz backup --only node --data /var/lib/yz-node node.tar",
        "yz backup --no-records --force yz.tar",
        "yz backup --restore --data restored yz.tar",
        "yz --home new-home backup --restore --only home yz.tar",
        codes=LOCAL,
        said={
            ExitCode.FAILURE: "a file exists already, or cannot be read or written, or the backup is damaged",
            ExitCode.INTERRUPTED: "Ctrl-C; nothing is left behind",
        },
    )
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="The node's data folder.  Needed to restore one.  [default: the only one among your data]",
)  # fmt: skip
@click.option("--only", type=click.Choice((_NODE, _HOME)), help="One of the two.  [default: both]")
@click.option(
    "--no-records", is_flag=True, help="Leave the node's records out: other nodes have copies of them."
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--restore", is_flag=True, help="Bring back what FILE holds; nothing is ever overwritten.")
@json_option
@click.pass_obj
def backup(  # noqa: PLR0913 - click gives each option its argument
    settings: Settings,
    *,
    file: Path,
    data: Path | None,
    only: str | None,
    no_records: bool,
    force: bool,
    restore: bool,
) -> None:
    """Save the node of this machine, running or not, and your home to FILE; or restore them from it.

    Of the node its key, records and whom it knows; of the home the identity, what it has seen and its groups; of both their
    memberships of closed networks. FILE is a tar, readable for you alone. It holds keys: whoever has it can pose as you, unless they are under a passphrase.
    """
    if restore:
        if force or no_records:
            raise UsageError(
                "--restore goes with neither --force nor --no-records",
                hint="move away what is in its place; nothing is overwritten",
            )
        _restore(settings, file, data, only)
    else:
        _save(settings, file, (data, only), has_records=not no_records, is_forced=force)


def is_saved(name: str) -> bool:
    """True for a file that a backup may hold, `part/name`."""
    part, _, inner = name.partition("/")
    return inner in _NAMES.get(part, ()) or (part in _NAMES and _is_of_closed_network(part, inner))


def _is_of_closed_network(part: str, name: str) -> bool:
    """What a member keeps; not an issuer's ledger, of which an old one would admit again, and forget who was revoked."""
    from yzdht.store.folder import is_revocation_list  # noqa: PLC0415 - loads the library
    from yzdht.store.memberships import is_membership  # noqa: PLC0415 - as above

    return is_membership(name) or (part == _NODE and is_revocation_list(name))


# Saving


def _save(
    settings: Settings,
    file: Path,
    what: tuple[Path | None, str | None],
    *,
    has_records: bool,
    is_forced: bool,
) -> None:
    from yzdht.cli.archive import FORMAT, Manifest, scratch_folder, write_archive  # noqa: PLC0415 - loads the library
    from yzdht.cli.progress import progress_aside  # noqa: PLC0415 - loads asyncio

    data, only = what
    if os.path.lexists(file) and not is_forced:
        raise StoreError(f"{file} exists already", hint="choose another FILE, or use --force")
    folder = None if only == _HOME else _node_folder(data, file, is_needed=only == _NODE)
    home = None if only == _NODE else _home_folder(settings, is_needed=only == _HOME)
    if folder is None and home is None:
        raise UsageError(
            "there is nothing to save", hint="name a node with --data DIR or a home with --home DIR"
        )
    about = Manifest(
        FORMAT,
        VERSION,
        int(time.time()),  # noqa: TID251 - when it was made
        (),
        None if folder is None else str(folder),
        None if home is None else str(home),
    )
    with progress_aside(f"saving to {file}"), scratch_folder(file.absolute()) as scratch:
        sources: list[Source] = []
        if folder is not None:
            names = tuple(name for name in _NODE_FILES if has_records or name != _RECORDS_NAME)
            sources += _copies(folder, _NODE, names, scratch)
        if home is not None:
            sources += _copies(home, _HOME, _HOME_FILES, scratch)
        manifest = write_archive(file.absolute(), sources, about, is_forced=is_forced)
    _tell_saved(settings, file, manifest)


def _node_folder(data: Path | None, file: Path, *, is_needed: bool) -> Path | None:
    """The data folder to save to a file; None if there is none and none is needed."""
    from yzdht.cli.local_node import as_owner, default_folders, foreign_owner  # noqa: PLC0415 - loads the library

    if data is None:
        folders = [path for path in default_folders() if (path / _NODE_KEY_NAME).exists()]
        if len(folders) > 1:
            names = ", ".join(map(str, folders))
            raise UsageError(
                f"there are {len(folders)} data folders: {names}",
                hint="choose one with --data DIR, or leave them out with --only home",
            )
        if not folders and not is_needed:
            return None
        if not folders:
            raise UsageError("no node of yours has a data folder", hint="name it with --data DIR")
        data = folders[0]
    data = data.absolute()
    owner = foreign_owner(data)
    if owner is not None:
        again = shlex.join(("yz", "backup", "--only", _NODE, "--data", str(data), str(file.absolute())))
        raise StoreError(f"{data} belongs to {owner}", hint=as_owner(owner, again))
    if not os.path.lexists(data / _NODE_KEY_NAME):
        raise StoreError(f"{data} is not the data folder of a node", hint="check the path after --data")
    return data


def _home_folder(settings: Settings, *, is_needed: bool) -> Path | None:
    home = settings.home.absolute()
    if os.path.lexists(home / HOME_KEY_NAME):
        return home
    if is_needed:
        raise StoreError(f"{home} holds no identity", hint="check --home, or make one with: yz id show")
    return None


def _copies(folder: Path, part: str, names: Sequence[str], scratch: Path) -> list[Source]:
    """Copies at rest of those of the files that exist."""
    from yzdht.cli.archive import Source, copy_database  # noqa: PLC0415 - loads the library
    from yzdht.limits import STATE_BYTES_MAX  # noqa: PLC0415 - as above
    from yzdht.store.files import create_file, read_own_file, refuse_unsafe_folder  # noqa: PLC0415 - as above

    refuse_unsafe_folder(folder)
    found: list[Source] = []
    more = sorted(entry.name for entry in folder.iterdir() if _is_of_closed_network(part, entry.name))
    for name in (*names, *more):
        copy = scratch / f"{part}-{name}"
        if name in _DATABASES:
            if not (folder / name).exists():
                continue
            copy_database(folder / name, copy)
        else:
            raw = read_own_file(folder / name, STATE_BYTES_MAX)  # the longest of them
            if raw is None:
                continue
            create_file(copy, raw)
        found.append(Source(f"{part}/{name}", copy))
    return found


def _tell_saved(settings: Settings, file: Path, manifest: Manifest) -> None:
    screen = settings.screen
    if screen.is_json:
        screen.object(
            {
                "file": str(file),
                "bytes": file.stat().st_size,
                "data": manifest.data,
                "home": manifest.home,
                "saved": [{"name": entry.name, "bytes": entry.bytes} for entry in manifest.files],
            }
        )
        return
    screen.line(str(file))
    for entry in manifest.files:
        screen.say(f"saved {entry.name}, {show_bytes(entry.bytes)}")
    screen.say("whoever has this file has the keys in it: keep it as you keep them")
    name = shlex.quote(str(file))
    if manifest.data is not None:
        screen.say(
            "not in it: the key file of a private network, and the settings file; save them too if there are any"
        )
        screen.say(f"the node comes back with: yz backup --restore --only node --data DIR {name}")
    if manifest.home is not None:
        screen.say(f"the home comes back with: yz --home DIR backup --restore --only home {name}")


# Restoring


def _restore(settings: Settings, file: Path, data: Path | None, only: str | None) -> None:
    from yzdht.cli.archive import install_files, install_folder, open_archive, scratch_folder  # noqa: PLC0415 - loads the library
    from yzdht.cli.progress import progress_aside  # noqa: PLC0415 - loads asyncio
    from yzdht.store.files import make_folder, refuse_unsafe_folder  # noqa: PLC0415 - as above

    with progress_aside(f"restoring from {file}"), open_archive(file, is_saved) as archive:
        manifest = archive.manifest
        parts = {entry.name.partition("/")[0] for entry in manifest.files}
        wanted = parts if only is None else {only}
        if not wanted <= parts or not parts:
            raise UsageError(f"{file} holds no {only or 'files'}", hint="leave --only out")
        folder = _restored_folder(manifest, data) if _NODE in wanted else None
        home = settings.home.absolute() if _HOME in wanted else None
        if home is not None:
            make_folder(home)
            refuse_unsafe_folder(home)
            _refuse_home(home)
        with contextlib.ExitStack() as stack:  # each beside its place: files are moved within one disk
            places: dict[str, Path] = {}
            if folder is not None:
                make_folder(folder.parent)
                places[_NODE] = stack.enter_context(scratch_folder(folder))
            if home is not None:
                places[_HOME] = stack.enter_context(scratch_folder(home / HOME_KEY_NAME))
            written = archive.unpack(places)
            if home is not None:
                install_files([path for path in written if path.parent == places[_HOME]], home)
            if folder is not None:
                install_folder(places[_NODE], folder)
    _tell_restored(settings, file, folder, home)


def _restored_folder(manifest: Manifest, data: Path | None) -> Path:
    if data is None:  # a path that stands in a file is never written to unasked
        raise UsageError(
            f"the backup holds a node, which was in {manifest.data}",
            hint="say where it goes with --data DIR, or leave it out with --only home",
        )
    folder = data.absolute()
    try:
        is_taken = os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}", hint="name another with --data DIR") from error
    if is_taken:
        raise StoreError(
            f"{folder} is there already",
            hint="name another with --data DIR, or move it away; stop its node first",
        )
    return folder


def _refuse_home(home: Path) -> None:
    for name in _HOME_FILES:
        if os.path.lexists(home / name):
            raise StoreError(
                f"{home / name} is there already", hint="name another --home DIR, or move it away"
            )


def _tell_restored(settings: Settings, file: Path, folder: Path | None, home: Path | None) -> None:
    screen = settings.screen
    if screen.is_json:
        screen.object(
            {
                "file": str(file),
                "data": None if folder is None else str(folder),
                "home": None if home is None else str(home),
            }
        )
        return
    if folder is not None:
        screen.line(str(folder))
        screen.say(f"the node is back; start it with: yz-node --data {shlex.quote(str(folder))}")
        screen.say("never run it here and elsewhere at the same time: both would have one id")
    if home is not None:
        screen.line(str(home))
        screen.say(f"the home is back; look at it with: yz --home {shlex.quote(str(home))} id show")
