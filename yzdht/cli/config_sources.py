"""Where the settings of `yz-node` come from: its flags, else the environment, else a file, else a default.

A name that nobody knows is refused, with the nearest one that is known: a limit that was misspelt is no limit. No value
of an unknown name is repeated, it may be a secret.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from typing import TYPE_CHECKING, NamedTuple

from yzdht.cli.node_settings import BY_NAME, PREFIX, SETTINGS, Kind, Setting, Value, read_switch
from yzdht.errors import ConfigError, YzError
from yzdht.limits import SESSIONS_MAX, SESSIONS_MAX_COMMUNITY
from yzdht.store.files import refuse_unsafe_file


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path


FILE_BYTES_MAX = 16_384
"""Enough for a hundred addresses; a key of many dots takes tomllib quadratic time."""

CONFIG_VARIABLE = PREFIX + "CONFIG"
JSON_VARIABLE = PREFIX + "JSON"

_OF_ONE_RUN = (CONFIG_VARIABLE, JSON_VARIABLE)
_SECRETS = ("passphrase", "password", "secret")
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a named pipe must not hang us


class Chosen(NamedTuple):
    """What a setting came to, and who said so.

    Attributes:
        value: None for nothing.
        source: The flag, the variable, the path of the file, or why it is the default.
        is_derived: A default that follows from another setting.

    """

    value: Value
    source: str
    is_derived: bool = False


class Configuration(dict[str, Chosen]):
    """What every setting came to, by name; readers of one type each, for code that knows the table."""

    def text(self, name: str) -> str:
        """A text that is there."""
        value = self[name].value
        assert isinstance(value, str)
        return value

    def text_or_none(self, name: str) -> str | None:
        """A text, if there is one."""
        return None if self[name].value is None else self.text(name)

    def number(self, name: str) -> int:
        """A number that is there."""
        value = self[name].value
        assert isinstance(value, int)
        return value

    def number_or_none(self, name: str) -> int | None:
        """A number, if there is one."""
        return None if self[name].value is None else self.number(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list."""
        value = self[name].value
        assert isinstance(value, tuple)
        return value

    def is_on(self, name: str) -> bool:
        """A switch."""
        return self[name].value is True


def choose(flags: Mapping[str, Value], environ: Mapping[str, str], file: Path | None = None) -> Configuration:
    """What every setting comes to.

    Args:
        flags: By name; None, (), or nothing, for what was not given; else text, bool or a tuple of texts.
        environ: The environment; an empty variable counts as not set.
        file: The settings file, if the command line names one; else `YZ_NODE_CONFIG` may.

    Raises:
        ConfigError: A value cannot be used, a name is unknown, or the file cannot be read.
        UnsafeFile: Others can change the file.

    """
    said = from_flags(flags)
    said_outside = from_environment(environ)
    if file is None and environ.get(CONFIG_VARIABLE):
        from pathlib import Path  # noqa: PLC0415 - rarely needed

        file = Path(environ[CONFIG_VARIABLE])
    written = {} if file is None else from_file(file)
    chosen = Configuration()
    for setting in SETTINGS:
        found = (source[setting.name] for source in (said, said_outside, written) if setting.name in source)
        chosen[setting.name] = next(found, Chosen(setting.default, "default"))
    _derive_sessions(chosen)
    _derive_data(chosen)
    return chosen


def _derive_sessions(chosen: Configuration) -> None:
    if chosen["max-sessions"].value is None:
        kind = chosen.text("type")
        most = SESSIONS_MAX_COMMUNITY if kind == "community" else SESSIONS_MAX
        chosen["max-sessions"] = Chosen(most, f"default of {kind} nodes", is_derived=True)


def _derive_data(chosen: Configuration) -> None:
    if chosen["data"].value is None:
        port = chosen.number("port")
        chosen["data"] = Chosen(_default_data(port), f"default at port {port}", is_derived=True)


def _default_data(port: int) -> str:
    import platformdirs  # noqa: PLC0415 - not needed by --version

    return str(platformdirs.user_data_path("yzdht", appauthor=False) / f"node-{port or 'auto'}")


def wants_json(environ: Mapping[str, str]) -> bool:
    """Whether the environment says `--json`; a word that is neither yes nor no is left to `choose` to refuse."""
    try:
        return read_switch(environ.get(JSON_VARIABLE) or "false")
    except ConfigError:
        return False


# Flags


def from_flags(flags: Mapping[str, Value]) -> dict[str, Chosen]:
    """What the command line says; raises as `choose`."""
    return {
        setting.name: Chosen(_read_flag(setting, value), setting.flag)
        for setting in SETTINGS
        if (value := flags.get(setting.name)) not in (None, ())
    }


def _read_flag(setting: Setting, value: Value) -> Value:
    if isinstance(value, str):
        return _read_text(setting, value, setting.flag)
    if isinstance(value, tuple):
        return _read_texts(setting, value, setting.flag)
    return value


# Environment


def from_environment(environ: Mapping[str, str]) -> dict[str, Chosen]:
    """What the environment says; raises as `choose`."""
    known = {setting.variable for setting in SETTINGS} | set(_OF_ONE_RUN)
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            raise _unknown("the environment variable", name, known)
    if environ.get(JSON_VARIABLE):
        _named(JSON_VARIABLE, read_switch, environ[JSON_VARIABLE])
    found: dict[str, Chosen] = {}
    for setting in SETTINGS:
        names = [name for name in (setting.variable, *setting.named) if environ.get(name)]
        if setting.variable in names or setting.kind is not Kind.LIST:
            names = names[:1]
        if names:
            found[setting.name] = _read_variables(setting, names, environ)
    return found


def _read_variables(setting: Setting, names: list[str], environ: Mapping[str, str]) -> Chosen:
    if setting.kind is not Kind.LIST:
        return Chosen(_read_text(setting, environ[names[0]], names[0]), names[0])
    texts: list[str] = []
    for name in names:
        parts = environ[name].split()
        _check_scheme(name, parts)
        texts += _read_texts(setting, parts, name)
    return Chosen(tuple(texts), ", ".join(names))


def _check_scheme(name: str, urls: list[str]) -> None:
    """`PUBLIC_ADDRESS_TCP`, `PUBLIC_ADDRESS_WS` and `PUBLIC_ADDRESS_WSS` say in their names what they hold."""
    for ending, form in (("_TCP", "tcp://HOST:PORT"), ("_WSS", "wss://HOST"), ("_WS", "ws://HOST")):
        scheme = form[: form.index("H")]
        wrong = [url for url in urls if name.endswith(ending) and not url.lower().startswith(scheme)]
        if wrong:
            raise ConfigError(
                f"{name}: {wrong[0][:80]!r} does not start with {scheme}",
                hint=f"write it as {form}, several separated by spaces",
            )


# File


def from_file(path: Path) -> dict[str, Chosen]:
    """What a settings file says; relative paths in it begin at its folder. Raises as `choose`."""
    table = _parse(path)
    for key in table:
        if key not in BY_NAME:
            raise _unknown(f"{path}: the key", key, BY_NAME)
    return {key: Chosen(_read_entry(BY_NAME[key], value, path), str(path)) for key, value in table.items()}


def _parse(path: Path) -> dict[str, object]:
    try:
        text = _read_file(path).decode()
        return tomllib.loads(text)
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except ValueError as error:  # TOMLDecodeError is one; so is what int() says of a number of 5,000 digits
        reason = f"is not TOML: {error}"
    except RecursionError:
        reason = "is nested too deeply"
    raise ConfigError(
        f"the settings file {path} {reason}", hint="compare it with what yz-node --print-config shows"
    )


def _read_file(path: Path) -> bytes:
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"the settings file {path} is not a file", hint="check the path")
            refuse_unsafe_file(status, path)  # who writes it says whom the node joins, and where its key lies
            raw = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError of a path with a null byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"the settings file {path} cannot be read: {reason}", hint="check the path"
        ) from error
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError(
            f"the settings file {path} is longer than {FILE_BYTES_MAX:,} bytes", hint="check the path"
        )
    return raw


def _read_entry(setting: Setting, value: object, path: Path) -> Value:
    where = f"{path}: {setting.name}"
    match setting.kind, value:
        case Kind.SWITCH, bool():
            return value
        case ((Kind.NUMBER | Kind.SIZE), int()) if not isinstance(value, bool):
            return _read_text(setting, str(value), where)
        case Kind.PATH, str():
            return str(path.absolute().parent / str(_read_text(setting, value, where)))
        case ((Kind.TEXT | Kind.SIZE), str()):
            return _read_text(setting, value, where)
        case Kind.LIST, list() if all(isinstance(text, str) for text in value):
            return _read_texts(setting, value, where)
        case _:
            raise ConfigError(
                f"{where} has to be {setting.kind.value}", hint=f"write: {setting.name} = {setting.example}"
            )


# What all have in common


def _read_texts(setting: Setting, texts: Iterable[str], where: str) -> tuple[str, ...]:
    return tuple(str(_read_text(setting, text, where)) for text in texts)


def _read_text(setting: Setting, text: str, where: str) -> int | str:
    return _named(where, read_switch if setting.kind is Kind.SWITCH else setting.read, text)


def _named(where: str, read: Callable[[str], int | str], text: str) -> int | str:
    """What a text says, or an error that names where it stands."""
    try:
        return read(text)
    except YzError as error:
        raise ConfigError(f"{where}: {error}", hint=error.hint) from None


def _unknown(what: str, name: str, known: Iterable[str]) -> ConfigError:
    folded = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name[:80].lower(), folded, n=1)
    if any(word in name.lower() for word in _SECRETS):
        hint = "no passphrase belongs there: use --passphrase-fd N or the systemd credential yz-passphrase"
    elif near:
        hint = f"did you mean {folded[near[0]]}?"
    else:
        hint = "docs/operating.md and yz-node --help list what there is"
    return ConfigError(f"{what} {name[:80]!r} is unknown", hint=hint)
