"""`yz id revocation`, `revoke` and `move`: how an identity ends, and what to have ready for that day."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.exports import read_export
from yzdht.cli.manual import WRITING, manual
from yzdht.cli.passphrase import is_terminal, opened, read_passphrase_fd
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import StoreError, UsageError, WireError, YzError
from yzdht.limits import REVOCATION_FILE_BYTES_MAX


if TYPE_CHECKING:
    from yzdht.crypto.identity import IdentityKeys
    from yzdht.ids import NetworkId, PublicKey
    from yzdht.moves import Announced
    from yzdht.wire.record import Record


_yes_option = click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")


@click.command(epilog=manual("yz id revocation revocation.txt", "yz id revocation - | lpr"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@json_option
@click.pass_obj
def revocation(settings: Settings, *, file: Path) -> None:
    """Write a revocation of this identity to FILE, or to stdout for -: one line, to be kept apart from the keys.

    Whoever has it can revoke this identity with `yz id revoke --with FILE`, and can do nothing else with it. It is for the
    day on which the keys are lost or stolen, and holds in this network alone.
    """
    from yzdht.crypto.moving import sign_revocation  # noqa: PLC0415 - loads the cryptography
    from yzdht.crypto.sealing import Author  # noqa: PLC0415 - as above
    from yzdht.store.files import create_file  # noqa: PLC0415 - as above
    from yzdht.wire.text import encode_revocation  # noqa: PLC0415 - as above

    screen, identity = settings.screen, settings.identity
    line = encode_revocation(sign_revocation(Author(identity.signer, identity.self_key, _network(settings))))
    is_stdout = str(file) == "-"
    if is_stdout and not screen.is_json:
        screen.line(line)
    elif not is_stdout and not create_file(file, f"{line}\n".encode()):
        raise StoreError(f"{file} exists already", hint="choose another file")
    if screen.is_json:
        screen.object({"fingerprint": identity.fingerprint, "file": str(file), "revocation": line})
        return
    screen.say(
        f"it revokes {identity.fingerprint} in the network {settings.network!r}: keep it apart from the keys"
    )


@click.command(
    epilog=manual("yz id revoke --with revocation.txt", "yz id revoke", "yz id revoke --yes", codes=WRITING)
)
@click.option(
    "--with", "file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="A revocation made before, - for stdin; no key is needed, from any home.",
)  # fmt: skip
@_yes_option
@json_option
@click.pass_obj
def revoke(settings: Settings, *, file: Path | None, is_sure: bool) -> None:
    """Revoke this identity, or that of FILE, for ever: nobody takes anything any more that it signed.

    Others learn of it within a day. It cannot be taken back.
    """
    if file is None:
        done = _revoke_own(settings, is_sure=is_sure)
    else:
        record = _read_revocation(settings, file)
        done = settings.through_client(
            "revoking", lambda client: client.records.moves.store_revocation(record), is_anybody=True
        )
    fingerprint = _fingerprint(done.publisher)
    _show(settings, done, f"{fingerprint} is revoked, {_by_nodes(done)}")
    if file is None:
        settings.screen.say("make a new identity: yz id new --force")


def _revoke_own(settings: Settings, *, is_sure: bool) -> Announced:
    identity = settings.identity
    question = (
        f"revoke {identity.fingerprint} for ever, so that nobody takes anything any more that it signed?"
    )
    _confirm(question, is_sure=is_sure)
    return settings.through_client("revoking", lambda client: client.records.moves.revoke())


def _read_revocation(settings: Settings, file: Path) -> Record:
    from yzdht.crypto.moving import verify_revocation  # noqa: PLC0415 - loads the cryptography
    from yzdht.errors import CryptoError  # noqa: PLC0415 - as above
    from yzdht.wire.text import decode_revocation  # noqa: PLC0415 - as above

    text = _read(file).decode(errors="replace").strip()
    hint = "give the file that `yz id revocation` wrote, whole"
    try:
        return verify_revocation(decode_revocation(text), _network(settings))
    except WireError as error:
        raise UsageError(f"{file}: {error}", hint=hint) from None
    except CryptoError as error:
        error.hint = "it is damaged, or was made for another network: name that with --network"
        raise


def _read(file: Path) -> bytes:
    from yzdht.store.files import read_file  # noqa: PLC0415 - loads the library

    if str(file) == "-":
        if sys.stdin is None:
            raise UsageError("stdin is closed", hint="name a file")
        return sys.stdin.buffer.read(REVOCATION_FILE_BYTES_MAX)
    data = read_file(file, REVOCATION_FILE_BYTES_MAX)
    if data is None:
        raise UsageError(f"there is no file {file}", hint="check the path")
    return data


@click.command(
    epilog=manual("yz id move new.key", "yz id move --new-passphrase-fd 3 new.key 3< phrase", codes=WRITING)
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--new-passphrase-fd",
    metavar="N",
    type=click.IntRange(0),
    help="Read the phrase of FILE from descriptor N.",
)
@_yes_option
@json_option
@click.pass_obj
def move(settings: Settings, *, file: Path, new_passphrase_fd: int | None, is_sure: bool) -> None:
    """Say that this identity goes on as the one in FILE, an export or a keyfile; both sign.

    Readers are told; nobody seals to the old key any more, or follows to the new one before its fingerprint was compared.
    """
    own = settings.identity
    phrase = None if new_passphrase_fd is None else read_passphrase_fd(new_passphrase_fd)
    new: IdentityKeys = opened(lambda text: read_export(file, text), phrase, f"phrase of {file}: ")
    if new.public_key == own.public_key:
        raise UsageError(
            "an identity does not move to itself", hint="make another: yz --home DIR id new, then export it"
        )
    _warn_of_groups(settings, new.public_key)
    _confirm(f"move {own.fingerprint} to {new.fingerprint}?", is_sure=is_sure)
    done = settings.through_client("moving", lambda client: client.records.moves.move(new.signer))
    _show(settings, done, f"{own.fingerprint} moved to {new.fingerprint}, {_by_nodes(done)}")
    settings.screen.say(f"go on with it here: yz id import --force {file}")


def _warn_of_groups(settings: Settings, new: PublicKey) -> None:
    """Say which groups know the old key alone: whoever has moved changes them no more."""
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - loads the library

    with settings.offline() as records:
        names = records.groups.names()
    if names:
        settings.screen.warn(
            f"groups know the old key, and do not follow to the new one: {', '.join(names)}",
            "while you can still change them, have it added, and promoted where you are an admin: "
            f"yz group add NAME {encode_public_key(new)}",
        )


def _confirm(question: str, *, is_sure: bool) -> None:
    """Ask, unless that was said not to be needed.

    Raises:
        UsageError: Nobody can be asked.
        YzError: The answer was no.

    """
    if is_sure:
        return
    if not is_terminal():
        raise UsageError("this cannot be undone, and nobody can be asked", hint="say --yes")
    if not click.confirm(question, err=True):
        raise YzError("nothing was done", hint="answer y the next time")


def _network(settings: Settings) -> NetworkId:
    from yzdht.crypto.naming import network_id  # noqa: PLC0415 - loads the cryptography

    return network_id(settings.network)


def _fingerprint(public_key: PublicKey) -> str:
    from yzdht.crypto.naming import fingerprint, node_id_of  # noqa: PLC0415 - loads the cryptography

    return fingerprint(node_id_of(public_key))


def _by_nodes(done: Announced) -> str:
    return f"on {done.accepted} of {done.asked} node{'' if done.asked == 1 else 's'}"


def _show(settings: Settings, done: Announced, sentence: str) -> None:
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - loads the library

    if not settings.screen.is_json:
        settings.screen.line(sentence)
        return
    settings.screen.object(
        {
            "fingerprint": _fingerprint(done.publisher),
            "publicKey": encode_public_key(done.publisher),
            "movedTo": None if done.successor is None else encode_public_key(done.successor),
            "accepted": done.accepted,
            "asked": done.asked,
            "needed": done.needed,
        }
    )
