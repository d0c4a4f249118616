"""`mrf` in processes that have its imports already: most of what a start costs is 2 s of CPU for them.

`run` gives commands to a server, one for each process of pytest, that forks for each. A command has an environment, a
folder and a session of its own, and ends as a program does. What is about the start itself, or is to be killed, is
started for real: `Place.start`.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

_REPOSITORY = Path(__file__).parent.parent
_ONE_AT_A_TIME = threading.Lock()


def run(
    arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run `mrf` to its end; one that does not end in that many seconds is killed.

    Raises:
        subprocess.TimeoutExpired: It was killed.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory() as written:
        outputs = [Path(written) / name for name in ("stdout", "stderr")]
        command = {"arguments": arguments, "environment": dict(environment), "folder": str(folder)}
        to_server, from_server = _server()
        to_server.write(json.dumps(command | {"outputs": list(map(str, outputs))}) + "\n")
        to_server.flush()
        pid = int(from_server.readline())
        is_ended, _, _ = select.select([from_server], [], [], seconds)
        if not is_ended:
            os.killpg(pid, signal.SIGKILL)
        code = int(from_server.readline())
        if not is_ended:
            raise subprocess.TimeoutExpired(list(arguments), seconds)
        return subprocess.CompletedProcess(list(arguments), code, *(path.read_text() for path in outputs))


@cache
def _server() -> tuple[IO[str], IO[str]]:
    """What to write commands to, and where pids and exit codes come from; it ends with this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=_REPOSITORY,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout


def _serve() -> None:
    """Fork for each command until there are no more."""
    # Not the definitions: they are built when they are imported, out of the environment.
    for name in ("mrf_assets.cli.app", "mrf_assets.runner.history"):
        importlib.import_module(name)
    shells = importlib.import_module("mrf_assets.defs")
    for module in pkgutil.iter_modules(shells.__path__, f"{shells.__name__}."):
        importlib.import_module(module.name)
    assert "mrf_assets.definitions" not in sys.modules
    while line := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            _become(**json.loads(line))
        _say(pid)
        _say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(arguments: list[str], environment: dict[str, str], folder: str, outputs: list[str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv[:] = ["mrf", *arguments]
    main = importlib.import_module("mrf_assets.__main__")
    sys.modules["__main__"] = main  # what processes that it spawns import
    main.program(arguments)


if __name__ == "__main__":
    _serve()
