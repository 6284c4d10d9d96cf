"""`yz put`: store a value."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click

from yzdht.cli.durations import parse_ttl
from yzdht.cli.manual import WRITING, manual
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import UsageError, ValueTooLarge
from yzdht.limits import VALUE_BYTES_MAX


_STDIN = 0


@click.command(
    epilog=manual(
        "yz put notes/today today.txt",
        "date | yz put now",
        "yz put --public --ttl 7d news news.html",
        "yz put --if-seq 0 lock mine.txt",
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
@json_option
@click.pass_obj
def put(
    settings: Settings, *, name: str, file: Path | None, ttl: str, is_public: bool, if_seq: int | None
) -> None:
    """Store the bytes of FILE or of stdin under NAME.

    Without FILE, or with -, stdin is read. A value has at most 61,436 bytes.
    """
    from yzdht.cli.receipts import by_nodes, instant, receipt_view  # noqa: PLC0415 - loads the library
    from yzdht.cli.sources import refuse_link  # noqa: PLC0415 - as above
    from yzdht.crypto.sealing import Public, Self  # noqa: PLC0415 - as above

    refuse_link(name)
    ttl_s = parse_ttl(ttl)
    value = read_value(file)
    readers = Public() if is_public else Self()
    receipt = settings.through_client(
        f"storing {name}",
        lambda client: client.store(name, value, readers=readers, ttl=ttl_s, if_seq=if_seq),
    )
    screen = settings.screen
    if screen.is_json:
        screen.object({"name": name, **receipt_view(receipt), "public": is_public})
        return
    screen.say(f"stored {by_nodes(receipt)}, seq {receipt.seq}, until {instant(receipt.expires)}")
    screen.say(f"link {receipt.link}")


def read_value(file: Path | None) -> bytes:
    """The bytes of a file or of stdin; never reads more than one byte above the limit.

    Raises:
        UsageError: It cannot be read, or nothing was given.
        ValueTooLarge: It is too long for a record.

    """
    is_stdin = file is None or str(file) == "-"
    if file is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("no value was given", hint="name a FILE, pipe the value in, or write - to type it")
    try:
        with io.FileIO(_STDIN if is_stdin else str(file), closefd=not is_stdin) as source:
            value = _read_up_to(source, VALUE_BYTES_MAX + 1)
    except OSError as error:
        where = "stdin" if is_stdin else file
        raise UsageError(f"{where} cannot be read: {error.strerror}", hint="check the path") from error
    if len(value) > VALUE_BYTES_MAX:
        raise ValueTooLarge(f"the value is longer than {VALUE_BYTES_MAX:,} bytes")
    return value


def _read_up_to(source: io.FileIO, count: int) -> bytes:
    """A pipe gives what it has: read on until `count` bytes or the end."""
    parts = bytearray()
    while len(parts) < count and (part := source.read(count - len(parts))):
        parts += part
    return bytes(parts)
