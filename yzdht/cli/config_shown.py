"""`yz-node --print-config`: what a node would run with, as a settings file, or as an object for programs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from yzdht.cli.node_settings import FROM_STDIN, SETTINGS, Kind
from yzdht.cli.sizes import show_size
from yzdht.errors import ConfigError


if TYPE_CHECKING:
    from collections.abc import Mapping

    from yzdht.cli.config_sources import Chosen
    from yzdht.cli.node_settings import Setting, Value


_ESCAPES = {'"': '\\"', "\\": "\\\\"}
_SHORT_MAX = 0xFFFF


def as_toml(chosen: Mapping[str, Chosen]) -> str:
    """A settings file with which a node runs in the same way; behind each line who said so.

    Raises:
        ConfigError: A path is not UTF-8, so that no such file can hold it.

    """
    lines = ["# yz-node runs with this; --config FILE reads it again."]
    for setting in SETTINGS:
        value, source, is_derived = chosen[setting.name]
        if _is_hidden(value, setting):
            lines.append(f"# {setting.name}: given, and not shown  # {_printable(source)}")
        elif value is None:
            lines.append(f"# {setting.name}: {setting.unset}  # {_printable(source)}")
        else:
            mark = "# " if is_derived else ""  # so that it follows when the file is changed
            lines.append(
                f"{mark}{setting.name} = {_toml(_lasting(value, setting), setting.kind)}  # {_printable(source)}"
            )
    return "\n".join(lines)


def as_object(chosen: Mapping[str, Chosen]) -> dict[str, object]:
    """The same for programs: `settings` by name, null for none, and `sources`."""
    return {
        "settings": {setting.name: _shown(chosen[setting.name].value, setting) for setting in SETTINGS},
        "sources": {name: of.source for name, of in chosen.items()},
    }


def _shown(value: Value, setting: Setting) -> Value:
    return "given, and not shown" if _is_hidden(value, setting) else _lasting(value, setting)


def _is_hidden(value: Value, setting: Setting) -> bool:
    """True for a secret; to say that it comes from stdin is none."""
    return setting.is_secret and value not in (None, FROM_STDIN)


def _lasting(value: Value, setting: Setting) -> Value:
    """A path that was typed begins where one stands, one in a file at that file: shown whole."""
    return os.path.abspath(value) if setting.kind is Kind.PATH and isinstance(value, str) else value  # noqa: PTH100 - as text, and nothing more is resolved


def _toml(value: Value, kind: Kind) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _quoted(show_size(value)) if kind is Kind.SIZE else str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_quoted, value))}]"
    assert value is not None
    return _quoted(value)


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{text!a} is not UTF-8, so no settings file can hold it") from None
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= _SHORT_MAX else f"\\U{ord(char):08x}"


def _printable(text: str) -> str:
    """A path with a line end must not write a line of its own."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
