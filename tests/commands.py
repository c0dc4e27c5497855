"""`deltaworks` as its users run it: in a pipe, or on a terminal."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.processes import PATIENCE_S, eventually

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "worker.cli"]
# `ESC [ … letter`: colours and cursor movements.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Ended(subprocess.CompletedProcess[str]):
    """A command that has ended: `returncode`, `stdout`, `stderr`."""

    def json(self) -> Any:
        """The last line of standard output."""
        return json.loads(self.stdout.splitlines()[-1])


class Deltaworks:
    """The command in one home, without anybody else's configuration."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DELTAWORKS_", "OPENAI_"))
        }
        self.env = {
            **inherited,
            "DELTAWORKS_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            "COLUMNS": "80",
            **env,
        }

    def __call__(self, *arguments: str, stdin: bytes = b"", **env: str) -> Ended:
        """Run the command to its end, in pipes."""
        ended = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            check=False,
            capture_output=True,
            env={**self.env, **env},
            timeout=2 * PATIENCE_S,
        )
        # Not `text=True`: it would turn the line ends of the output into our own.
        out, err = ended.stdout.decode(), ended.stderr.decode()
        assert "Traceback" not in err, err
        return Ended(ended.args, ended.returncode, out, err)

    @contextmanager
    def start(self, *arguments: str, **env: str) -> "Iterator[subprocess.Popen[bytes]]":
        """The command in pipes, in a session of its own; what still runs at the end is killed."""
        with subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.env, **env},
            start_new_session=True,
        ) as popen:
            try:
                yield popen
            finally:
                popen.kill()

    def on_terminal(self, *arguments: str, **env: str) -> "Terminal":
        """Start the command on a terminal of its own."""
        return Terminal([*COMMAND, *arguments], {**self.env, **env})


class Terminal:
    """A command on a terminal of 80 columns; Ctrl-C reaches it as a key."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.popen = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
            # The first terminal that a session's leader opens becomes its own.
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # noqa: PLW1509
        )
        os.close(slave)
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._read_to_end, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        os.close(self._master)

    def shown(self) -> str:
        """All that was shown so far, without colours."""
        return _ESCAPES.sub("", b"".join(self._read).decode(errors="replace")).replace("\r", "")

    def await_shown(self, text: str) -> None:
        """Return when `text` was shown; fail when the command ends before."""

        def there() -> bool:
            found = text in self.shown()
            assert found or self.popen.poll() is None, self.shown()
            return found

        eventually(there)

    def press_ctrl_c(self) -> None:
        """As the key does."""
        os.write(self._master, b"\x03")

    def end(self) -> int:
        """Wait for the end; the exit code."""
        code = self.popen.wait(2 * PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert "Traceback" not in self.shown(), self.shown()
        return code

    def _read_to_end(self) -> None:
        while True:
            try:
                piece = os.read(self._master, 65_536)
            except OSError:  # EIO: no process has the other side open any more
                return
            if not piece:
                return
            self._read.append(piece)


def read_line(process: "subprocess.Popen[bytes]") -> bytes:
    """The next line of its standard output."""
    assert process.stdout is not None
    return process.stdout.readline()


def read_errors(process: "subprocess.Popen[bytes]") -> str:
    """All that is still to come of its standard error."""
    assert process.stderr is not None
    return process.stderr.read().decode()
