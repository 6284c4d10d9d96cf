"""`yz get`: read a value."""

from __future__ import annotations

import base64
import contextlib
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.manual import READING, manual
from yzdht.cli.passphrase import ask, is_terminal, read_passphrase_fd
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import PassphraseNeeded, UsageError
from yzdht.limits import READ_PATHS_MAX


if TYPE_CHECKING:
    from yzdht.records import Value


@click.command(
    epilog=manual(
        "yz get notes/today",
        "yz get -o news.html --from X7C6-M2PZ-FDRC-F19M news",
        "yz get --group team plan",
        "yz --json get notes/today",
        "yz get --disjoint 3 notes/today",
        codes=READING,
    )
)
@click.argument("name")
@click.option(
    "--from", "source", metavar="WHO",
    help="Whose: a contact's name, a public key, a node id, the fingerprint of an identity met, or a yz: link.",
)  # fmt: skip
@click.option(
    "--group", metavar="GROUP", help="Under NAME of this group: what any member, or --from, wrote last."
)
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write to FILE, all or nothing; a new file is readable for you alone.",
)  # fmt: skip
@click.option(
    "--disjoint", metavar="N", type=click.IntRange(1, READ_PATHS_MAX), default=1, show_default=True,
    help="Read along N paths that share no node.",
)  # fmt: skip
@click.option(
    "--passphrase-fd", "phrase_fd", metavar="N", type=click.IntRange(0),
    help="Read the passphrase of the value from descriptor N; asked for if it needs one.",
)  # fmt: skip
@json_option
@click.pass_obj
def get(  # noqa: PLR0913 - click gives each option its argument
    settings: Settings,
    *,
    name: str,
    source: str | None,
    group: str | None,
    output: Path | None,
    disjoint: int,
    phrase_fd: int | None,
) -> None:
    """Read the value under NAME, or of a yz: link."""
    from yzdht.cli.sources import LINK_START, Way, parse_source, read_value  # noqa: PLC0415 - loads the library

    whose = parse_source(settings, name, source)
    if group is not None and name.startswith(LINK_START):
        raise UsageError("a link names no group's value", hint="give its NAME, or leave --group out")

    def read(passphrase: str | None) -> Value:
        return settings.through_client(
            f"reading {name}",
            lambda client: read_value(client, name, whose, Way(disjoint, passphrase, group)),
        )

    try:
        value = read(None if phrase_fd is None else read_passphrase_fd(phrase_fd))
    except PassphraseNeeded as error:
        if not is_terminal():
            error.hint = f"give it behind the command: yz get {name} --passphrase-fd N"
            raise
        value = read(ask(f"passphrase of {name}: "))
    screen = settings.screen
    if value.is_conflict:
        screen.warn(
            f"two values carry seq {value.seq}: their publisher wrote from two devices "
            "at once, or a key was copied; this is the one that all readers choose"
        )
    if value.moved_to is not None and value.publisher != settings.identity.public_key:
        from yzdht.moves import person_moved  # noqa: PLC0415 - part of the library

        moved = person_moved(value.publisher, value.moved_to)
        screen.warn(str(moved), moved.hint)
    if output is not None and str(output) != "-":
        write_whole(output, value.data)
    elif not screen.is_json:
        screen.data(value.data)
    if screen.is_json:
        screen.object(value_view(name, value))


def value_view(name: str, value: Value) -> dict[str, object]:
    """A value as an object; `text` is there if its bytes are UTF-8."""
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - part of the library

    view: dict[str, object] = {
        "name": name,
        "data": base64.b64encode(value.data).decode(),
        "encoding": "base64",
    }
    with contextlib.suppress(UnicodeDecodeError):
        view["text"] = value.data.decode()
    return view | {
        "origin": value.origin.value,
        "publisher": encode_public_key(value.publisher),
        "seq": value.seq,
        "created": value.created,
        "expires": value.expires,
        "conflict": value.is_conflict,
        "movedTo": None if value.moved_to is None else encode_public_key(value.moved_to),
    }


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, all or nothing; one that exists keeps its mode, and a link what it points to.

    A device or a pipe is written to, never replaced.

    Raises:
        StoreError: It cannot be written.

    """
    from yzdht.store.files import as_store_error, replace_file  # noqa: PLC0415 - part of the library

    try:
        path = path.resolve()
        mode = path.stat().st_mode if path.exists() else None
        if mode is not None and not stat.S_ISREG(mode):
            path.write_bytes(data)
            return
        replace_file(path, data)
        if mode is not None:
            path.chmod(stat.S_IMODE(mode))
    except OSError as error:
        raise as_store_error(error, path) from error
