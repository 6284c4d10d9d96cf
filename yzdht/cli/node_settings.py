"""Everything that `yz-node` can be told: one table, from which come its flags, its environment and its settings file.

Each setting reads text in one way, wherever the text stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from yzdht.cli import logs
from yzdht.cli.sizes import parse_size, show_size
from yzdht.errors import ConfigError
from yzdht.limits import QUOTA_TOTAL_BYTES, SESSIONS_MAX, SESSIONS_MAX_COMMUNITY


if TYPE_CHECKING:
    from collections.abc import Callable


Value: TypeAlias = bool | int | str | tuple[str, ...] | None
"""What a setting comes to; None for nothing."""

PREFIX = "YZ_NODE_"

FROM_STDIN = "-"
"""In place of a link, which holds a secret: its first line is the link."""

_NUMBER = re.compile(r"[0-9]{1,19}")
_WORDS = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_KEY_DIGITS = re.compile(r"\s*[0-9a-fA-F]{64}\s*")
_PORT_MAX = 65_535
_COUNT_MAX = 1_000_000


class Kind(Enum):
    """What a setting holds, as an error names it."""

    NUMBER = "a number"
    SIZE = "a size"
    TEXT = "text"
    PATH = "a path"
    SWITCH = "true or false"
    LIST = "a list of texts"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that a node can be told.

    Attributes:
        name: Of the flag, without dashes; also the key in a settings file.
        kind: What it holds.
        metavar: Of the flag; of a switch, the name of its opposite.
        help: One sentence.
        example: As a settings file would have it, behind the `=`.
        read: Makes the value of one text; raises YzError.
        default: Used when nobody says anything; None for nothing.
        unset: What None means.
        named: Environment variables by which others call it, after its own.
        is_secret: It is shown to nobody, not even to whoever asks what a node would run with.

    """

    name: str
    kind: Kind
    metavar: str
    help: str
    example: str
    read: Callable[[str], int | str] = str
    default: Value = None
    unset: str = "none"
    named: tuple[str, ...] = ()
    is_secret: bool = False

    @property
    def variable(self) -> str:
        """Its own environment variable."""
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def flag(self) -> str:
        """As it stands on the command line."""
        return f"--{self.name}"

    @property
    def usual(self) -> str:
        """What it is when nobody says anything, for people."""
        if self.default in (None, ()):
            return self.unset
        return show_size(int(self.default)) if self.kind is Kind.SIZE else str(self.default)  # type: ignore[arg-type] # of a size it is a number

    @property
    def words(self) -> tuple[str, ...]:
        """The only values that it takes; none for one that takes any."""
        return tuple(self.metavar.split("|")) if "|" in self.metavar else ()

    @property
    def key(self) -> str:
        """As Python names it."""
        return self.name.replace("-", "_")


def read_switch(text: str) -> bool:
    """True or false, as the environment says it.

    Raises:
        ConfigError: Any other word.

    """
    value = _WORDS.get(text.lower())
    if value is None:
        raise ConfigError(f"{text[:40]!r} is neither true nor false", hint="write true or false")
    return value


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not text.isascii() or not least <= int(text) <= most:
            raise ConfigError(
                f"{text[:40]!r} is no number from {least} to {most}",
                hint="write a whole number of that range in digits",
            )
        return int(text)

    return read


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ConfigError(
                f"{text[:40]!r} is none of {', '.join(words)}", hint=f"write {' or '.join(words)}"
            )
        return text.lower()

    return read


def _host(text: str) -> str:
    if not text.strip() or not text.isprintable():  # an empty one would be every interface
        raise ConfigError(f"{text[:40]!r} is no address to listen on", hint="name one of this machine, or ::")
    return text


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ConfigError(f"{text[:40]!r} is no path")
    return text


def _key_path(text: str) -> str:
    if _KEY_DIGITS.fullmatch(text):  # not repeated: it may be the secret itself
        raise ConfigError(
            "this is a key and not the path of its file",
            hint="write the key into a file of mode 0600, name the file",
        )
    return _path(text)


def _bootstrap(text: str) -> str:
    from yzdht.config import parse_bootstrap  # noqa: PLC0415 - loads the cryptography

    parse_bootstrap(text)
    return text


def _public_address(text: str) -> str:
    from yzdht.config import check_advertised  # noqa: PLC0415 - as above

    check_advertised(text)
    return text


def _prefix(text: str) -> str:
    from yzdht.config import parse_prefix  # noqa: PLC0415 - as above

    parse_prefix(text)
    return text


def _issuer(text: str) -> str:
    from yzdht.config import parse_issuer  # noqa: PLC0415 - as above

    parse_issuer(text)
    return text


def _invite(text: str) -> str:
    from yzdht.config import parse_join  # noqa: PLC0415 - as above

    if text != FROM_STDIN:
        parse_join(text)
    return text


def _network(text: str) -> str:
    from yzdht.crypto.naming import network_id  # noqa: PLC0415 - as above

    network_id(text)
    return text


SETTINGS = (
    Setting("port", Kind.NUMBER, "N", "0: a free one.", "8083", _number(0, _PORT_MAX), 8083,
            named=("WEBSOCKET_PORT",)),
    Setting("host", Kind.TEXT, "ADDRESS", "Address to listen on; :: for all, IPv4 too.", '"::"', _host, "::",
            named=("WEBSOCKET_HOST",)),
    Setting("bootstrap", Kind.LIST, "URL[#NODE_ID]", "A node to join through; several may be given.",
            '["ws://192.0.2.1:8083"]', _bootstrap, ()),
    Setting("data", Kind.PATH, "DIR", "Folder of its key and records.", '"data"', _path,
            unset="node-PORT among your data"),
    Setting("network", Kind.TEXT, "NAME", "Name of the network.", '"main"', _network, "main"),
    Setting("network-key", Kind.PATH, "FILE", "Key of a private network.", '"network.key"', _key_path),
    Setting("type", Kind.TEXT, "community|infrastructure", "How much it takes; gives no privilege.", '"community"',
            _choice("community", "infrastructure"), "community", named=("NODE_TYPE",)),
    Setting("max-sessions", Kind.NUMBER, "N", "Sessions at a time.", "1000", _number(1, _COUNT_MAX),
            unset=f"community {SESSIONS_MAX_COMMUNITY}, infrastructure {SESSIONS_MAX}"),
    Setting("max-storage", Kind.SIZE, "SIZE", "What others may store, as 512MiB.", '"16GiB"', parse_size, QUOTA_TOTAL_BYTES),
    Setting("max-bandwidth", Kind.SIZE, "SIZE", "Bytes per second in each direction, as 1MiB.", '"1MiB"', parse_size,
            unset="no bound"),
    Setting("allow-private", Kind.SWITCH, "--no-allow-private",
            "Advertise loopback; dial private addresses that others name.", "true", default=False),
    Setting("public-address", Kind.LIST, "URL", "Advertise this, not the interfaces.", '["wss://node1.example"]',
            _public_address, (), named=("PUBLIC_ADDRESS_WSS", "PUBLIC_ADDRESS_TCP", "PUBLIC_ADDRESS_WS")),
    Setting("no-port-mapping", Kind.SWITCH, "--port-mapping", "Never ask the router to forward the port.", "true",
            default=False),
    Setting("lan", Kind.SWITCH, "--no-lan", "Announce it on the local network, and meet others there (mDNS).", "true",
            default=False),
    Setting("trusted-prefix", Kind.LIST, "CIDR", "Know any number of nodes of this block.", '["203.0.113.0/24"]',
            _prefix, ()),
    Setting("trusted-proxy", Kind.LIST, "CIDR", "A proxy: believe X-Forwarded-For from here.", '["203.0.113.7"]',
            _prefix, ()),
    Setting("invite-only", Kind.TEXT, "PK", "Serve only whom this key invited; self: its own.", '"self"', _issuer, unset="an open network"),
    Setting("join", Kind.TEXT, "LINK", "Become a member by an invite; - reads it from stdin.", '"-"', _invite,
            is_secret=True),
    Setting("tls-cert", Kind.PATH, "FILE", "Certificate to serve TLS with; read again on SIGHUP.", '"fullchain.pem"', _path,
            unset="no TLS"),
    Setting("tls-key", Kind.PATH, "FILE", "Its private key.", '"privkey.pem"', _path),
    Setting("ca", Kind.PATH, "FILE", "Authorities to trust when wss is dialled.", '"ca.pem"', _path, unset="the system's"),
    Setting("http-port", Kind.NUMBER, "N", "Status page on loopback; 0: a free port.", "8084", _number(0, _PORT_MAX),
            unset="port + 1, or the next free one"),
    Setting("no-http", Kind.SWITCH, "--http", "No status page, no health checks, no metrics.", "true", default=False),
    Setting("passphrase-fd", Kind.NUMBER, "N", "Read the passphrase of its key from descriptor N.", "3",
            _number(0, _COUNT_MAX)),
    Setting("log-level", Kind.TEXT, "|".join(logs.LEVELS), "Logs on stderr.", '"info"', _choice(*logs.LEVELS), "info"),
    Setting("log-format", Kind.TEXT, "|".join(logs.FORMATS), "Lines of text, or an object each.", '"text"',
            _choice(*logs.FORMATS), "text"),
)  # fmt: skip

BY_NAME = {setting.name: setting for setting in SETTINGS}
