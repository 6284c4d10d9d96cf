"""`yz` and `yz-node` as people start them: real processes, real terminals, nothing but loopback."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.watched.plugin import inherited


if TYPE_CHECKING:
    from collections.abc import Sequence


YZ = str(Path(sys.executable).with_name("yz"))
YZ_NODE = str(Path(sys.executable).with_name("yz-node"))
PATIENCE_S = 60.0


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the person who runs the tests."""
    return {"HOME": str(folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | inherited()


@dataclass
class Ran:
    """What one run came to."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def object(self) -> dict[str, Any]:
        view: dict[str, Any] = json.loads(self.stdout)
        return view

    @property
    def error(self) -> dict[str, Any]:
        view: dict[str, Any] = json.loads(self.stderr)
        return view

    @property
    def text(self) -> str:
        return self.stdout.decode()


@dataclass
class Person:
    """Somebody with a home folder, and the options that stand before each of their commands."""

    home: Path
    options: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)

    def at(self, *urls: str) -> Person:
        nodes = (word for url in urls for word in ("--node", url))
        return Person(self.home, (*self.options, *nodes), self.extra)

    def command(self, *words: str) -> list[str]:
        return [YZ, "--home", str(self.home), *self.options, *words]

    def environment(self) -> dict[str, str]:
        return environment(self.home.parent) | self.extra

    def yz(self, *words: str, stdin: bytes | None = None, passphrases: Sequence[str] = ()) -> Ran:
        """Run one command; `{fd0}`, `{fd1}` … in words become descriptors that carry the passphrases."""
        descriptors = [_pipe_with(text) for text in passphrases]
        names = {f"fd{number}": descriptor for number, descriptor in enumerate(descriptors)}
        words = tuple(word.format(**names) if word.startswith("{") else word for word in words)
        try:
            done = subprocess.run(
                self.command(*words),
                check=False,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                env=self.environment(),
                cwd=self.home.parent,
                pass_fds=descriptors,
                timeout=PATIENCE_S,
            )
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return Ran(done.returncode, done.stdout, done.stderr.decode())


def _pipe_with(text: str) -> int:
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    return read


class NodeProcess:
    """One `yz-node --json` on a free port of loopback; `before` stands in front of the command."""

    def __init__(
        self, data: Path, *words: str, passphrase: str | None = None, before: Sequence[str] = ()
    ) -> None:
        self.data = data
        self.stderr_path = data.with_name(f"{data.name}.stderr")
        descriptors = [] if passphrase is None else [_pipe_with(passphrase)]
        phrase = [] if passphrase is None else ["--passphrase-fd", str(descriptors[0])]
        with self.stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                [
                    *before,
                    YZ_NODE,
                    "--host",
                    "127.0.0.1",
                    "--port",
                    "0",
                    "--json",
                    "--data",
                    str(data),
                    *phrase,
                    *words,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment(data.parent),
                pass_fds=descriptors,
            )
        for descriptor in descriptors:
            os.close(descriptor)

    def ready(self) -> Self:
        self.view = self.event()
        assert self.view["event"] == "ready", self.view
        return self

    def event(self) -> dict[str, Any]:
        """The next event."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.stderr
        event: dict[str, Any] = json.loads(line)
        return event

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.view['port']}"

    @property
    def node_id(self) -> str:
        return str(self.view["nodeId"])

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, list[dict[str, Any]]]:
        """Signal it; its exit code and what it still said."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        stdout, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, [json.loads(line) for line in stdout.splitlines()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Terminal:
    """A program on a terminal of its own; stdout apart if it is a pipe."""

    def __init__(self, command: Sequence[str], env: dict[str, str], cwd: Path) -> None:
        self._master, slave = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - no thread of the tests holds a lock here
        )
        os.close(slave)

    def expect(self, text: str, *, after: int = 0) -> None:
        """Read on until the text was shown."""
        while text not in self.shown[after:]:
            part = self._read()
            assert part, f"{text!r} was not shown: {self.shown!r}"
            self.shown += part

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._master, text.encode())

    def answer(self, prompt: str, text: str) -> None:
        """Wait for a prompt, then type a line."""
        start = len(self.shown)
        self.expect(prompt, after=max(0, start - len(prompt)))
        self.type(f"{text}\n")

    def end(self) -> int:
        """Its exit code, once it has ended by itself."""
        while part := self._read():
            self.shown += part
        return self.process.wait(PATIENCE_S)

    def _read(self) -> str:
        ready, _, _ = select.select([self._master], [], [], PATIENCE_S)
        assert ready, f"nothing more was shown: {self.shown!r}"
        try:
            return os.read(self._master, 65_536).decode(errors="replace")
        except OSError:  # how Linux says that nobody is at the other end
            return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        os.close(self._master)


def _take_terminal() -> None:
    """As a login does; a run of the tests in the background of a script ignores SIGINT, and passes that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
