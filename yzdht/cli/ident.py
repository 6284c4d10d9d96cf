"""`yz id`: the identity of this home. Works without a node."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yzdht.cli.contacts import add, list_, remove
from yzdht.cli.exports import read_export, read_keyfile
from yzdht.cli.manual import manual
from yzdht.cli.moving import move, revocation, revoke
from yzdht.cli.passphrase import ask_twice, credential, opened, read_passphrase_fd
from yzdht.cli.settings import Settings, json_option
from yzdht.errors import StoreError, UsageError


if TYPE_CHECKING:
    from yzdht.store.keyfile import Identity


_PRIVATE = 0o600
_FORCE_HELP = "Put the identity that is there aside first; it is kept beside as identity.key.TIME.bak."
_REVOCATION_HINT = (
    "for the day on which the keys are lost or stolen: yz id revocation FILE, kept apart from them"
)


@click.group(
    "id", epilog=manual("yz id show", "yz id export -o backup.key", "yz --home DIR id import backup.key")
)
def ident() -> None:
    """Show, make, back up, protect, move and revoke your identity; give names to people."""


for _command in (add, list_, remove, revocation, revoke, move):
    ident.add_command(_command)


# Show and make


@ident.command(epilog=manual("yz id show", "yz --json --home DIR id show"))
@json_option
@click.pass_obj
def show(settings: Settings) -> None:
    """Show the identity of this home; it is made if there is none."""
    _show(settings, settings.identity, {})


@ident.command(epilog=manual("yz id new", "yz id new --force"))
@click.option("--force", is_flag=True, help=_FORCE_HELP)
@json_option
@click.pass_obj
def new(settings: Settings, *, force: bool) -> None:
    """Make a new identity; what the old one stored in private is read by the old one alone."""
    from yzdht.store.keyfile import Identity  # noqa: PLC0415 - loads the cryptography

    _refuse_overwrite(settings, is_forced=force)
    identity = Identity.generate()
    _install(settings, identity, settings.passphrase)
    settings.screen.say(_REVOCATION_HINT)


# Back up and move


@ident.command(epilog=manual("yz id export", "yz id export -o backup.key"))
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Where to; - for stdout.  [default: yz-identity-FINGERPRINT.key]",
)  # fmt: skip
@json_option
@click.pass_obj
def export(settings: Settings, *, output: Path | None) -> None:
    """Write a copy of the identity under a generated phrase; `yz id import` and browsers read it."""
    from yzdht.crypto.passphrase import generate_phrase  # noqa: PLC0415 - loads the cryptography
    from yzdht.store.entropy import SystemRng  # noqa: PLC0415 - as above

    screen, identity = settings.screen, settings.identity
    is_stdout = output is not None and str(output) == "-"
    if is_stdout and screen.is_json:
        raise UsageError("stdout cannot carry both the export and an object", hint="name a file with -o FILE")
    path = output or Path(f"yz-identity-{identity.fingerprint}.key")
    phrase = generate_phrase(SystemRng())
    data = identity.export_bytes(phrase)
    if is_stdout:
        screen.data(data)
    else:
        _create(path, data)
    if screen.is_json:
        screen.object({"file": str(path), "phrase": phrase})
        return
    if not is_stdout:
        screen.line(str(path))
    screen.say(f"phrase: {phrase}")
    screen.say("it is shown this once; keep it apart from the file")
    screen.say(_REVOCATION_HINT)


def _create(path: Path, data: bytes) -> None:
    from yzdht.store.files import create_file  # noqa: PLC0415 - loads the library

    if not create_file(path, data):
        raise StoreError(f"{path} exists already", hint="choose another file with -o FILE")


@ident.command(
    "import", epilog=manual("yz id import backup.key", "yz --passphrase-fd 3 id import backup.key 3< phrase")
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help=_FORCE_HELP)
@json_option
@click.pass_obj
def import_(settings: Settings, *, file: Path, force: bool) -> None:
    """Make the identity in FILE, an export or a keyfile, the identity of this home.

    --passphrase-fd carries the phrase of FILE; it is kept under the systemd credential yz-passphrase, or under none. If
    it is the identity of this home already, the keys of both devices are kept: what is sealed to either opens here.
    """
    identity = opened(lambda phrase: read_export(file, phrase), settings.passphrase, f"phrase of {file}: ")
    if os.path.lexists(settings.key_path) and not force:
        _merge(settings, identity)
        return
    _install(settings, identity, credential())


def _merge(settings: Settings, identity: Identity) -> None:
    """Take over the keys of another device, if it is the identity that is here."""
    protection = credential()
    own = opened(lambda phrase: _own(settings, phrase), protection, f"passphrase of {settings.key_path}: ")
    if own.public_key != identity.public_key:
        _refuse_overwrite(settings, is_forced=False)
    merged = own.merge_in(identity)
    before = {kem.key.public_key for kem in own.kem}
    count = sum(kem.key.public_key not in before for kem in merged.kem)
    settings.screen.say(f"{count} key{'' if count == 1 else 's'} of the other device taken over")
    _show(settings, merged, {"kept": None})


def _own(settings: Settings, phrase: str | None) -> Identity:
    from yzdht.store.keyfile import Identity  # noqa: PLC0415 - loads the cryptography

    return Identity.load(settings.key_path, phrase)


# Protect


@ident.command(epilog=manual("yz id passphrase", "yz id passphrase --remove"))
@click.option(
    "--new-passphrase-fd", metavar="N", type=click.IntRange(0), help="Read the new one from descriptor N."
)
@click.option("--remove", is_flag=True, help="Keep the identity under no passphrase.")
@json_option
@click.pass_obj
def passphrase(settings: Settings, *, new_passphrase_fd: int | None, remove: bool) -> None:
    """Set, change or remove the passphrase of this home's identity."""
    if remove and new_passphrase_fd is not None:
        raise UsageError("--remove and --new-passphrase-fd exclude each other", hint="choose one")
    identity = settings.identity
    if remove:
        text = None
    elif new_passphrase_fd is not None:
        text = read_passphrase_fd(new_passphrase_fd)
    else:
        text = ask_twice("new passphrase: ")
    identity = identity.protect(text)
    settings.screen.say(
        "the identity is under no passphrase now" if text is None else "the passphrase is set"
    )
    if settings.screen.is_json:
        _show(settings, identity, {})


# What they share


def _refuse_overwrite(settings: Settings, *, is_forced: bool) -> None:
    if os.path.lexists(settings.key_path) and not is_forced:
        raise StoreError(
            f"{settings.key_path} holds an identity already",
            hint="use --force to put it aside, or another --home DIR",
        )


def _install(settings: Settings, identity: Identity, passphrase_: str | None) -> None:
    """Write the home's keyfile; at no moment is there none, and the one before is never lost."""
    kept = _put_aside(settings.key_path)
    identity.install(settings.key_path, passphrase_, replace=kept is not None)
    if kept is not None:
        settings.screen.say(f"the identity before is kept as {kept}")
    _show(settings, identity, {"kept": None if kept is None else str(kept)})


def _put_aside(path: Path) -> Path | None:
    """Give a keyfile a second name, for its owner alone."""
    if not os.path.lexists(path):
        return None
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    try:
        for number in itertools.count(1):
            kept = path.with_name(f"{path.name}.{when}{'' if number == 1 else f'-{number}'}.bak")
            try:
                os.link(path, kept)
            except FileExistsError:
                continue
            kept.chmod(_PRIVATE)
            return kept
    except OSError as error:
        raise StoreError(
            f"{path} cannot be put aside: {error.strerror}", hint="move it away by hand"
        ) from error
    raise AssertionError("numbers do not end")


def _show(settings: Settings, identity: Identity, more: dict[str, object]) -> None:
    from yzdht.crypto.keyfile import needs_passphrase  # noqa: PLC0415 - loads the cryptography
    from yzdht.wire.text import encode_public_key  # noqa: PLC0415 - as above

    path = settings.key_path
    is_protected = needs_passphrase(read_keyfile(path))
    screen = settings.screen
    if screen.is_json:
        screen.object(
            {
                "fingerprint": identity.fingerprint,
                "nodeId": identity.node_id.hex(),
                "publicKey": encode_public_key(identity.public_key),
                "file": str(path),
                "passphrase": is_protected,
                **more,
            }
        )
        return
    screen.line(f"fingerprint  {identity.fingerprint}")
    screen.line(f"node id      {identity.node_id.hex()}")
    screen.line(f"public key   {encode_public_key(identity.public_key)}")
    screen.line(f"file         {path}, under {'a' if is_protected else 'no'} passphrase")
