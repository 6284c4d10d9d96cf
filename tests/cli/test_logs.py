"""What a log line looks like, and that every call in the package makes one of fields, without ids, keys and payloads."""

from __future__ import annotations

import ast
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from yzdht.cli import logs
from yzdht.cli.logs import JsonLines, TextLines


if TYPE_CHECKING:
    from collections.abc import Iterator


PACKAGE = Path(__file__).parent.parent.parent / "yzdht"
CALL = re.compile(r"[a-z][a-z. -]*[a-z](?: [a-z_]+=%(?:s|d|\.\d+f))*")
RESERVED = {"at", "level", "logger", "event", "trace"}
OF_IDS = {"node", "peer", "target", "publisher", "session", "id"}
SECRET = re.compile(
    r"(?:^|_)(?:id|key|keys|target|publisher|body|bodies|data|record|records|raw|value|payload|message|passphrase|secret|psk)$"
)


def a_line(message: str, *args: object, exc: BaseException | None = None) -> logging.LogRecord:
    trace = None if exc is None else (type(exc), exc, exc.__traceback__)
    record = logging.LogRecord("yzdht.node", logging.INFO, __file__, 1, message, args, trace)
    record.created, record.msecs = 1_769_860_800.0, 5.0
    return record


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id in {"log", "logger", "logging"}
                and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical", "log"}
            ):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def fields_of(call: ast.Call) -> list[str]:
    template = call.args[0]
    assert isinstance(template, ast.Constant)
    return re.findall(r"([a-z_]+)=%", str(template.value))


def names_in(node: ast.AST) -> set[str]:
    """Names that stand in an argument, but for what `shorten` or `len` makes of them."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"shorten", "len"}:
        return set()
    own = (
        {node.attr} if isinstance(node, ast.Attribute) else {node.id} if isinstance(node, ast.Name) else set()
    )
    return own.union(
        *(names_in(child) for child in ast.iter_child_nodes(node) if not isinstance(node, ast.Attribute))
    )


def test_a_line_is_its_time_level_logger_event_and_fields() -> None:
    line = TextLines().format(a_line("joined node=%s known=%d took_s=%.1f", "12ab34cd", 7, 0.25))

    assert line == "2026-01-31T12:00:00.005Z INFO yzdht.node joined node=12ab34cd known=7 took_s=0.2"


def test_the_same_line_as_json_keeps_numbers_and_truths() -> None:
    line = JsonLines().format(a_line("session opened peer=%s port=%d initiator=%s", "12ab34cd", 7, *[True]))

    assert json.loads(line) == {
        "at": "2026-01-31T12:00:00.005Z",
        "level": "info",
        "logger": "yzdht.node",
        "event": "session opened",
        "peer": "12ab34cd",
        "port": 7,
        "initiator": True,
    }


@pytest.mark.parametrize("evil", ["x\n2026 ERROR forged", 'x known=9 "', "\x1b[2J", "\u202eevil", ""])
def test_a_value_forges_neither_a_field_nor_a_line(evil: str) -> None:
    record = a_line("dial failed reason=%s known=%d", evil, 1)
    line = TextLines().format(record)

    assert line.isprintable()
    assert line.isascii()
    [(quoted, known)] = re.findall(r'dial failed reason=("(?:[^"\\]|\\.)*") known=(\d+)$', line)
    assert (json.loads(quoted), known) == (evil, "1")
    assert json.loads(JsonLines().format(record))["reason"] == evil


def test_a_line_of_another_package_is_all_event() -> None:
    record = a_line("connection %s\nlost after %d%%", "x=1", 3)

    assert TextLines().format(record).endswith("yzdht.node connection x=1\\nlost after 3%")
    assert json.loads(JsonLines().format(record))["event"] == "connection x=1\nlost after 3%"


def test_a_traceback_follows_its_line_and_is_one_value_of_json() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    record = a_line("task failed name=%s", "t", exc=caught.value)

    first, second, *_, last = TextLines().format(record).splitlines()
    assert first.endswith("task failed name=t")
    assert second.startswith("Traceback")
    assert last == "ZeroDivisionError: division by zero"
    assert json.loads(JsonLines().format(record))["trace"].endswith(last)


@pytest.mark.parametrize("style", logs.FORMATS)
def test_lines_of_the_level_and_above_go_to_stderr(
    style: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, ours = logging.getLogger(), logging.getLogger("yzdht")
    before = (root.handlers[:], root.level, ours.level)
    monkeypatch.setattr(root, "handlers", [])
    try:
        logs.configure("INFO", style)  # type: ignore[arg-type] # one of them
        logging.getLogger("yzdht.x").debug("unheard n=%d", 1)
        logging.getLogger("yzdht.x").info("heard n=%d", 2)
        logging.getLogger("another").info("unheard")
        assert not logs.is_debugging()
    finally:
        root.handlers[:], _, _ = before
        root.setLevel(before[1])
        ours.setLevel(before[2])

    [line] = capsys.readouterr().err.splitlines()
    assert (json.loads(line)["n"] == 2) if style == "json" else line.endswith("INFO yzdht.x heard n=2")


def test_every_call_is_an_event_and_fields() -> None:
    bad = [
        where
        for where, call in calls()
        if not isinstance(call.args[0], ast.Constant) or not CALL.fullmatch(str(call.args[0].value))
    ]

    assert len(list(calls())) >= 10
    assert bad == []


def test_every_call_has_a_value_for_each_field_and_uses_no_reserved_name() -> None:
    bad = []
    for where, call in calls():
        fields = fields_of(call)
        is_spread = any(isinstance(arg, ast.Starred) for arg in call.args)
        if (not is_spread and len(fields) != len(call.args) - 1) or RESERVED & set(fields):
            bad.append(where)

    assert bad == []


def test_ids_are_shortened_and_neither_keys_nor_payloads_are_logged() -> None:
    bad = []
    for where, call in calls():
        for field, arg in zip(fields_of(call), call.args[1:], strict=False):
            is_short = isinstance(arg, ast.Call) and getattr(arg.func, "id", "") == "shorten"
            if (field in OF_IDS and not is_short) or any(map(SECRET.search, names_in(arg))):
                bad.append(f"{where} {field}")

    assert bad == []
