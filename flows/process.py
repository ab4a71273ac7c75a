"""A child process in a group of its own, which ends as a whole: in time, when told to, or with its parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Timer
from typing import Any

GRACE_SECONDS = 30  # for a group to end when told to, before it is killed


def run(
    command: Sequence[str], *, timeout_seconds: int, env: Mapping[str, str], on_line: Callable[[str], None]
) -> int | None:
    """Run `command`, hand every line it prints to `on_line`, and return its exit status, or None if time ran out.

    Whatever ends this call early (Ctrl-C, cancellation) ends the whole group first.
    """
    beside = str(Path(sys.executable).parent)  # so that `python` in a stage's command is this Python
    path = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    late = Event()
    with subprocess.Popen(  # noqa: S603 - a list of words, and no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
        start_new_session=True,
        env={**os.environ, **env, "PATH": path, "PYTHONUNBUFFERED": "1"},
    ) as process:

        def out_of_time() -> None:
            late.set()
            end(process)

        timer = Timer(timeout_seconds, out_of_time)
        timer.start()
        try:
            for line in process.stdout or ():
                on_line(line.rstrip())
            status = process.wait()
        finally:
            timer.cancel()
            end(process)
    return None if late.is_set() else status


def end(process: subprocess.Popen[Any]) -> None:
    """End the process and all of its group: politely, as Ctrl-C does, and after a while for good."""
    for polite in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, polite)
        except ProcessLookupError:
            return
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
