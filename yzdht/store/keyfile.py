"""An identity on disk: who may read the file, how it is created, and under which passphrase.

The bytes are crypto/keyfile.py's. Refuses a file that group or others can read, or that another user owns. PROTOCOL.md
section 13.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from yzdht.crypto.identity import IdentityKeys
from yzdht.crypto.keyfile import (
    decode_identity,
    encode_identity,
    needs_passphrase,
    open_keyfile,
    seal_keyfile,
)
from yzdht.crypto.passphrase import ARGON2_DEFAULT, NO_KDF, PBKDF2_DEFAULT, SALT_BYTES
from yzdht.crypto.primitives import PrivateKey
from yzdht.errors import StoreError, UnsafeFile, UsageError, WireError, WrongPassphrase
from yzdht.limits import KEYFILE_BYTES_MAX
from yzdht.store.entropy import SystemRng
from yzdht.store.files import (
    as_store_error,
    create_file,
    held_lock,
    make_folder,
    refuse_foreign_file,
    replace_file,
)


if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Self

    from yzdht.ids import PublicKey
    from yzdht.ports import Rng


AnyPath = Path | str
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class _Kept:
    """Where an identity is kept."""

    path: Path
    passphrase: str | None = field(repr=False)


class Identity(IdentityKeys):
    """An identity that can be kept in a file; see IdentityKeys for what it holds.

    One that was read from a file, or written to one, renews its KEM keys there.
    """

    _kept: _Kept | None = None

    @classmethod
    def generate(cls, rng: Rng | None = None, wall_now: float | None = None) -> Self:
        """Make a new identity in memory only.

        Args:
            rng: Source of the storage secret; the system's when None.
            wall_now: Unix seconds; the system's clock when None.

        """
        return super().generate(rng or SystemRng(), _wall_now() if wall_now is None else wall_now)

    @classmethod
    def load(cls, path: AnyPath, passphrase: str | None = None) -> Self:
        """Read a keyfile.

        Args:
            path: The file.
            passphrase: What it is under; not looked at when it is under none.

        Raises:
            UnsafeFile: Group or others can read it, or another user owns it.
            WrongPassphrase: It needs a passphrase, or another one.
            StoreError: It is not there, cannot be read or is not a keyfile.
            CryptoError: It is damaged.

        """
        path = Path(path)
        try:
            data = _read_private(path)
            identity = cls.import_bytes(data, passphrase)
            is_protected = needs_passphrase(data)
        except WireError as error:
            raise StoreError(f"{path} is damaged or not a keyfile: {error}", hint=_COPY_HINT) from error
        # A passphrase that was given and not needed is another one's: the file must not come under it later.
        return identity._keep(_Kept(path, passphrase if is_protected else None))

    @classmethod
    def create(cls, path: AnyPath, *, passphrase: str | None = None) -> Self:
        """Make a new identity and keep it in a new file.

        Raises:
            StoreError: The file exists or cannot be written.

        """
        identity = cls.generate()
        identity.save(path, passphrase)
        return identity

    @classmethod
    def load_or_create(cls, path: AnyPath, *, passphrase: str | None = None) -> Self:
        """Read a keyfile, or make one if there is none; processes that do so at once end with one identity.

        Args:
            path: The file.
            passphrase: What it is, or will be, under; None for none.

        Raises:
            As `load` and `create`.

        """
        path = Path(path)
        if not os.path.lexists(path):
            identity = cls.generate()
            if identity._create_file(path, passphrase):
                return identity._keep(_Kept(path, passphrase))
        return cls.load(path, passphrase)

    @classmethod
    def import_bytes(cls, data: bytes, phrase: str | None) -> Self:
        """Read the bytes of a keyfile or of an export.

        Raises:
            WireError: They are not a keyfile.
            WrongPassphrase: They need a passphrase, or another one.
            CryptoError: They are damaged.

        """
        if phrase is None:
            if needs_passphrase(data):
                raise WrongPassphrase(
                    "the keyfile is under a passphrase and none was given", hint=_PHRASE_HINT
                )
            phrase = ""
        keys = decode_identity(open_keyfile(data, phrase))
        return cls(keys.signing, keys.kem, keys.storage_secret)

    def save(self, path: AnyPath, passphrase: str | None = None, *, replace: bool = False) -> None:
        """Write a keyfile with mode 0600, into a folder that is created with mode 0700; durable when this returns.

        Args:
            path: The file.
            passphrase: Argon2id is used with one; None writes the keys as they are, as SSH host keys are kept.
            replace: True replaces a file that exists; False refuses.

        Raises:
            StoreError: The file exists or cannot be written.
            UsageError: The passphrase is empty or too long.

        """
        path = Path(path)
        if replace:
            make_folder(path.parent)
            replace_file(path, self._sealed(passphrase))
        elif not self._create_file(path, passphrase):
            raise StoreError(f"{path} exists already", hint="choose another file; keys are never overwritten")
        if self._kept is None or self._kept.path == path:  # else this is a copy, and the keys live elsewhere
            self._keep(_Kept(path, passphrase))

    def renewed(self, wall_now: float, listed: Collection[PublicKey] = ()) -> Self:
        """These keys, or newer ones that are on disk when this returns.

        Another process of the same home may have made them: the file is looked at first. Takes a good part of a second
        where the file is under a passphrase.

        Args:
            wall_now: Unix seconds.
            listed: Public KEM keys in the newest states of this identity's groups.

        Raises:
            StoreError: The file cannot be read or written, or holds another identity by now.

        """
        if self._kept is None:
            return self
        with self._stored(wall_now) as (stored, kept):
            if not stored.needs_kem_key(wall_now):
                return stored
            return stored.with_kem_key(PrivateKey.generate(), wall_now, listed)._replacing(kept)

    def reloaded(self, wall_now: float) -> Self:
        """These keys and those that another process of the same home has made or taken over since.

        Args:
            wall_now: Unix seconds.

        Raises:
            StoreError: The file cannot be read, or holds another identity by now.

        """
        if self._kept is None:
            return self
        with self._stored(wall_now) as (stored, _):
            return stored

    def protect(self, passphrase: str | None) -> Self:
        """Put the file that this was read from under a passphrase, or under none, with all keys that are in it by now.

        Raises:
            UsageError: The passphrase is empty or too long, or this identity is in no file.
            StoreError: The file cannot be read or written, or holds another identity by now.

        """
        with self._stored(_wall_now()) as (stored, kept):
            return stored._replacing(_Kept(kept.path, passphrase))

    def install(self, path: AnyPath, passphrase: str | None, *, replace: bool) -> None:
        """Write a home's keyfile as `save` does, never while another process renews what is there."""
        path = Path(path)
        make_folder(path.parent)
        with held_lock(_lock_of(path)):
            self.save(path, passphrase, replace=replace)

    def merge_in(self, other: IdentityKeys, wall_now: float | None = None) -> Self:
        """Keep the KEM keys of another device of this identity too, in the file that this one was read from.

        Args:
            other: The same identity, as the other device exported it.
            wall_now: Unix seconds; the system's clock when None.

        Raises:
            UsageError: It is another identity, or this one is in no file.
            StoreError: The file cannot be written.

        """
        wall_now = _wall_now() if wall_now is None else wall_now
        with self._stored(wall_now) as (stored, kept):
            return stored.merged(other, wall_now)._replacing(kept)

    @contextmanager
    def _stored(self, wall_now: float) -> Iterator[tuple[Self, _Kept]]:
        """What the file holds now with what this object holds beside, and how it lies there; nobody changes it meanwhile.

        Raises:
            UsageError: This identity is in no file.
            StoreError: The file cannot be read, or holds another identity by now.

        """
        if self._kept is None:
            raise UsageError("this identity is kept in no file")
        path = self._kept.path
        with held_lock(_lock_of(path)):
            try:
                stored = self.load(path, self._kept.passphrase)
            except WrongPassphrase as error:
                raise StoreError(
                    f"{path} is under another passphrase than when this program began", hint="start it again"
                ) from error
            if stored.public_key != self.public_key:
                raise StoreError(
                    f"{path} holds another identity than when this program began", hint="start it again"
                )
            assert stored._kept is not None
            yield stored.merged(self, wall_now)._keep(stored._kept), stored._kept

    def _replacing(self, kept: _Kept) -> Self:
        self.save(kept.path, kept.passphrase, replace=True)
        return self

    def export_bytes(self, phrase: str) -> bytes:
        """Build the portable form of the keyfile, which browsers read too (PBKDF2).

        Args:
            phrase: Of at least 77 random bits, as `generate_phrase` makes it: the bytes may be seen by others.

        """
        return seal_keyfile(encode_identity(self), phrase, PBKDF2_DEFAULT, SystemRng().token(SALT_BYTES))

    def _create_file(self, path: Path, passphrase: str | None) -> bool:
        sealed = self._sealed(passphrase)
        make_folder(path.parent)
        return create_file(path, sealed)

    def _keep(self, kept: _Kept) -> Self:
        object.__setattr__(self, "_kept", kept)  # what it holds is frozen, where it lies is not
        return self

    def _sealed(self, passphrase: str | None) -> bytes:
        parameters = NO_KDF if passphrase is None else ARGON2_DEFAULT
        return seal_keyfile(
            encode_identity(self), passphrase or "", parameters, SystemRng().token(SALT_BYTES)
        )


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _wall_now() -> float:
    return time.time()  # noqa: TID251 - store/ is shell; whoever makes keys by hand has no clock to pass


_PHRASE_HINT = "give its passphrase: at the prompt, through a file descriptor or as a systemd credential"
_COPY_HINT = "restore it from a copy"


def _read_private(path: Path) -> bytes:
    try:
        # A named pipe must not hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check_private(os.fstat(descriptor), path)  # of what was opened: a path could change in between
            data = file.read(KEYFILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise StoreError(
            f"there is no keyfile {path}", hint="check the path, or create an identity first"
        ) from error
    except OSError as error:
        raise as_store_error(error, path) from error
    return data


def _check_private(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a file", hint="check the path")
    if status.st_mode & _OTHERS:
        raise UnsafeFile(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others can get at the keys in it",
            hint=f"run: chmod 600 {path}",
        )
    refuse_foreign_file(status, path)
