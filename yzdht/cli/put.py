"""`yz put`: store a value."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.durations import parse_ttl
from yzdht.cli.manual import WRITING, manual
from yzdht.cli.passphrase import read_passphrase_fd
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import UsageError, ValueTooLarge
from yzdht.limits import VALUE_BYTES_MAX


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yzdht.client import Client
    from yzdht.readers import AnyReaders
    from yzdht.slot_writer import Receipt


_STDIN = 0


@click.command(
    epilog=manual(
        "yz put notes/today today.txt",
        "date | yz put now",
        "yz put --public --ttl 7d news news.html",
        "yz put --if-seq 0 lock mine.txt",
        "yz put --to anna --to X7C6-M2PZ-FDRC-F19M plan plan.txt",
        "yz put --group team plan plan.txt",
        "yz put --passphrase-fd 3 wifi wifi.txt 3< phrase",
        codes=WRITING,
    )
)
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--ttl", metavar="TIME", default="30d", show_default=True, help="How long it lives: 90s, 12h, 7d, 4w."
)
@click.option(
    "--public", "is_public", is_flag=True, help="Signed but not sealed: whoever knows NAME reads it."
)
@click.option(
    "--if-seq", metavar="N", type=click.IntRange(0),
    help="Store only if the stored value has this seq; 0 for none.",
)  # fmt: skip
@click.option(
    "--to", "to", metavar="WHO", multiple=True,
    help="For this person and yourself: a contact's name, a fingerprint, public key, node id or yz: link. Up to 32.",
)  # fmt: skip
@click.option("--group", metavar="GROUP", help="For the members of this group, under NAME of the group.")
@click.option(
    "--passphrase-fd", "phrase_fd", metavar="N", type=click.IntRange(0),
    help="For whoever knows the passphrase that is read from descriptor N, and has the link.",
)  # fmt: skip
@json_option
@click.pass_obj
def put(  # noqa: PLR0913 - click gives each option its argument
    settings: Settings,
    *,
    name: str,
    file: Path | None,
    ttl: str,
    is_public: bool,
    if_seq: int | None,
    to: tuple[str, ...],
    group: str | None,
    phrase_fd: int | None,
) -> None:
    """Store the bytes of FILE or of stdin under NAME, for yourself alone if nothing else is said.

    Without FILE, or with -, stdin is read. A value has at most 61,436 bytes.
    """
    from yzdht.cli.receipts import by_nodes, instant, receipt_view  # noqa: PLC0415 - loads the library
    from yzdht.cli.sources import refuse_link  # noqa: PLC0415 - as above

    if is_public + bool(to) + (group is not None) + (phrase_fd is not None) > 1:
        raise UsageError("--public, --to, --group and --passphrase-fd exclude each other", hint="choose one")
    refuse_link(name)
    ttl_s = parse_ttl(ttl)
    readers_of = _readers(settings, is_public=is_public, to=to, group=group, phrase_fd=phrase_fd)
    value = read_value(file)

    async def store(client: Client) -> Receipt:
        readers = await readers_of(client)
        return await client.store(name, value, readers=readers, ttl=ttl_s, if_seq=if_seq)

    receipt = settings.through_client(f"storing {name}", store)
    screen = settings.screen
    for warning in receipt.warnings:
        screen.warn(warning)
    if screen.is_json:
        screen.object({"name": name, **receipt_view(receipt), "public": is_public})
        return
    screen.say(f"stored {by_nodes(receipt)}, seq {receipt.seq}, until {instant(receipt.expires)}")
    if receipt.link:
        screen.say(f"link {receipt.link}")


def _readers(
    settings: Settings, *, is_public: bool, to: tuple[str, ...], group: str | None, phrase_fd: int | None
) -> Callable[[Client], Awaitable[AnyReaders]]:
    """Who the options say reads it; node ids are looked up once there is a client."""
    from yzdht.cli.sources import parse_person, resolve_person  # noqa: PLC0415 - loads the library
    from yzdht.readers import Group, Passphrase, Public, Self, To  # noqa: PLC0415 - as above

    readers: AnyReaders = Public() if is_public else Self()
    if group is not None:
        readers = Group(group)
    if phrase_fd is not None:
        readers = Passphrase(read_passphrase_fd(phrase_fd))
    people = [parse_person(settings, who, "--to") for who in to]

    async def resolved(client: Client) -> AnyReaders:
        if not people:
            return readers
        return To([await resolve_person(client, person) for person in people])

    return resolved


def read_value(file: Path | None) -> bytes:
    """The bytes of a file or of stdin; never reads more than one byte above the limit.

    Raises:
        UsageError: It cannot be read, or nothing was given.
        ValueTooLarge: It is too long for a record.

    """
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("no value was given", hint="name a FILE, pipe the value in, or write - to type it")
    value = read_source(file, VALUE_BYTES_MAX + 1)
    if len(value) > VALUE_BYTES_MAX:
        raise ValueTooLarge(f"the value is longer than {VALUE_BYTES_MAX:,} bytes")
    return value


def read_source(file: Path | None, count: int) -> bytes:
    """The first bytes of a file, or of stdin without one and for -.

    Raises:
        UsageError: It cannot be read.

    """
    is_stdin = file is None or str(file) == "-"
    try:
        with io.FileIO(_STDIN if is_stdin else str(file), closefd=not is_stdin) as source:
            return _read_up_to(source, count)
    except OSError as error:
        where = "stdin" if is_stdin else file
        raise UsageError(f"{where} cannot be read: {error.strerror}", hint="check the path") from error


def _read_up_to(source: io.FileIO, count: int) -> bytes:
    """A pipe gives what it has: read on until `count` bytes or the end."""
    parts = bytearray()
    while len(parts) < count and (part := source.read(count - len(parts))):
        parts += part
    return bytes(parts)
