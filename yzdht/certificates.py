"""Certificates: the one that this end shows, read again while it runs, and whose it trusts when it dials wss.

A certificate proves a name to browsers and to proxies. Who a node is, its key says (PROTOCOL.md section 3); nothing here can
stand in for that.
"""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol, TypeVar

from yzdht.crypto.primitives import certificate_life, certificate_names, certificate_rsa_bits
from yzdht.errors import CertificateRefused, InvalidKey, UnsafeFile
from yzdht.limits import CERTIFICATE_BYTES_MAX, TLS_HANDSHAKE_BURST, TLS_HANDSHAKES_PER_S, TLS_RSA_BITS
from yzdht.store.files import refuse_foreign_file
from yzdht.transport.tls_channel import hardened


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


_T = TypeVar("_T")


_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not hang us


class Shown(NamedTuple):
    """A certificate as it was loaded.

    Attributes:
        context: What new connections are opened with.
        not_before: When it begins, unix.
        not_after: When it ends.
        names: Host names that it is for.
        rsa_bits: Length of its key; 0 where that is not of RSA.

    """

    context: ssl.SSLContext
    not_before: float
    not_after: float
    names: tuple[str, ...]
    rsa_bits: int = 0

    @property
    def handshake_cost(self) -> float:
        """As how many of those that TLS_HANDSHAKES_PER_S is for a handshake counts, 1.0 or more."""
        return min(TLS_HANDSHAKE_BURST / 2, max(1.0, (self.rsa_bits / TLS_RSA_BITS) ** 3))


class OwnCertificate:
    """The certificate that is shown to whoever dials, as it was when its files were last good.

    Args:
        path: PEM, the chain that signed it behind it.
        key_path: Its private key, PEM without a passphrase; its owner's alone.

    Attributes:
        shown: What it is and from when until when.

    Raises:
        CertificateRefused: It cannot be served with.
        UnsafeFile: Others can get at the key.

    """

    def __init__(self, path: Path, key_path: Path) -> None:
        self._path = path
        self._key_path = key_path
        self.shown = self._load()

    def reload(self, wall: float) -> None:
        """Read the files again; connections that are open keep what they were opened with.

        Raises:
            CertificateRefused: As for a new one, or it is not valid now; the old one stays.
            UnsafeFile: As above.

        """
        loaded = self._load()
        if (trouble := self._why_not(loaded, wall)) is not None:
            raise trouble
        self.shown = loaded

    def trouble(self, wall: float) -> CertificateRefused | None:
        """Why nobody believes it now; None if its time is now."""
        return self._why_not(self.shown, wall)

    def _why_not(self, shown: Shown, wall: float) -> CertificateRefused | None:
        if wall >= shown.not_after:
            return CertificateRefused(
                f"the certificate {self._path} has ended", hint="renew it, then send the node SIGHUP"
            )
        if wall < shown.not_before:
            return CertificateRefused(
                f"the certificate {self._path} is not valid yet", hint="check this machine's clock"
            )
        return None

    def _load(self) -> Shown:
        _refuse_open_key(self._key_path)
        life = _read(self._path, certificate_life)
        names = _read(self._path, certificate_names)
        rsa_bits = _read(self._path, certificate_rsa_bits)
        context = hardened(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # for 1.2 OpenSSL keeps up to 20,480 sessions
        context.num_tickets = 0  # nodes never resume, and a ticket takes 7 KiB of whoever dialled
        try:
            context.load_cert_chain(self._path, self._key_path, self._refuse_passphrase)
        except ssl.SSLError as error:
            raise self._explain(error) from error
        except OSError as error:
            raise _unreadable(self._path, error) from error
        return Shown(context, *life, names, rsa_bits)

    def _refuse_passphrase(self) -> NoReturn:
        raise CertificateRefused(
            f"the key {self._key_path} is locked with a passphrase",
            hint=f"unlock it: openssl pkey -in {self._key_path} -out FILE",
        )

    def _explain(self, error: ssl.SSLError) -> CertificateRefused:
        if error.reason == "KEY_VALUES_MISMATCH":
            return CertificateRefused(
                f"the key {self._key_path} is not that of the certificate {self._path}",
                hint="name the two files that were made together",
            )
        return CertificateRefused(
            f"{self._path} and {self._key_path} cannot be served with ({error.reason or error})",
            hint="name PEM files: a certificate with its chain, and its key",
        )


class TlsFiles(Protocol):
    """Where the means of TLS lie; `config.Tls`."""

    @property
    def certificate(self) -> Path | None: ...  # noqa: D102 - as there

    @property
    def key(self) -> Path | None: ...  # noqa: D102 - as there

    @property
    def ca(self) -> Path | None: ...  # noqa: D102 - as there


class TlsMeans:
    """What TLS of a node stands on while it runs.

    A certificate that has ended, or is not valid yet, is shown all the same: whoever dials hears why that fails, a clock that
    was wrong may be set meanwhile, and the other roads need none. But its names are not given to others.

    Args:
        files: Where it lies.
        wall: The present, unix.

    Attributes:
        trust: Whose certificates count; None for the system's.

    Raises:
        CertificateRefused: As OwnCertificate and `trust_in`.
        UnsafeFile: As OwnCertificate.

    """

    def __init__(self, files: TlsFiles, wall: float) -> None:
        self.trust = trust_in(files.ca)
        self._own: OwnCertificate | None = None
        if files.certificate is not None and files.key is not None:
            self._own = OwnCertificate(files.certificate, files.key)
        self._is_good = self.look(wall) is None

    def look(self, wall: float) -> CertificateRefused | None:
        """Why nobody believes the own certificate now; None if its time is now, or there is none."""
        trouble = None if self._own is None else self._own.trouble(wall)
        self._is_good = trouble is None
        return trouble

    @property
    def not_after(self) -> float | None:
        """When it ends, unix; None if there is none."""
        return None if self._own is None else self._own.shown.not_after

    @property
    def handshake_cost(self) -> float:
        """As how many TLS handshakes one counts with the present key, 1.0 or more."""
        return 1.0 if self._own is None else self._own.shown.handshake_cost

    @property
    def slow_key(self) -> str:
        """What is slow about the present key; empty where nothing is."""
        if self._own is None or self.handshake_cost <= 1.0:
            return ""
        a_second = TLS_HANDSHAKES_PER_S / self.handshake_cost
        return f"its RSA key of {self._own.shown.rsa_bits} bits is slow: {a_second:.3g} TLS handshakes a second may begin"

    def shown(self) -> ssl.SSLContext | None:
        """The present certificate; None where TLS is not served."""
        return None if self._own is None else self._own.shown.context

    @property
    def names(self) -> tuple[str, ...]:
        """Host names under which others can dial wss here; none while the certificate is not valid."""
        return () if self._own is None or not self._is_good else self._own.shown.names

    def reload(self, wall: float) -> float | None:
        """Read the own certificate again; when it ends, unix. None if there is none.

        Raises:
            CertificateRefused: It is no good; the old one stays.
            UnsafeFile: Others can get at the key; as above.

        """
        if self._own is None:
            return None
        self._own.reload(wall)
        self._is_good = True
        return self.not_after


def trust_in(path: Path | None) -> ssl.SSLContext | None:
    """Whose certificates count when wss is dialled.

    Args:
        path: PEM with authorities that count in place of the system's; None for the system's.

    Raises:
        CertificateRefused: It cannot be read, or holds no certificate.

    Returns:
        None for the system's, which are loaded when they are needed.

    """
    if path is None:
        return None
    _read(path, certificate_life)
    try:
        return hardened(ssl.create_default_context(cafile=path))
    except ssl.SSLError as error:
        raise CertificateRefused(f"{path} holds no usable certificate ({error.reason or error})") from error


def _read(path: Path, parse: Callable[[bytes], _T]) -> _T:
    """What the first certificate of a file says."""
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            pem = file.read(CERTIFICATE_BYTES_MAX)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        return parse(pem)
    except InvalidKey:
        raise CertificateRefused(f"{path} holds no certificate") from None


def _refuse_open_key(path: Path) -> None:
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise CertificateRefused(f"the key {path} is not a file")
    if status.st_mode & _OTHERS:
        raise UnsafeFile(
            f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others can get at the key of the certificate",
            hint=f"run: chmod 600 {path}",
        )
    refuse_foreign_file(status, path)


def _unreadable(path: Path, error: OSError) -> CertificateRefused:
    return CertificateRefused(
        f"{path} cannot be read: {error.strerror or error}",
        hint="check the path, and that this user may read it",
    )
