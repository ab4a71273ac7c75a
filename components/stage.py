"""How a stage runs as a command: its arguments, its log, and one line where something is wrong."""

import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from components.errors import AtelierError


def run(stage: Callable[..., None]) -> None:
    """Call `stage` with the paths of the command line, and end the process with its exit status.

    An error of the input or the world becomes one line on standard error that begins with `error:`, and
    so does Ctrl-C. Anything else is a defect, and keeps its traceback.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    for ours in ("components", "__main__"):
        logging.getLogger(ours).setLevel(logging.INFO)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for told in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: what a shell puts in the background ignores it
        signal.signal(told, signal.default_int_handler)
    name = stage.__module__ if stage.__module__ != "__main__" else Path(sys.argv[0]).stem
    paths = [Path(argument) for argument in sys.argv[1:]]
    expected = inspect.signature(stage).parameters
    if len(paths) != len(expected):
        usage = " ".join(parameter.upper() for parameter in expected)
        _end(name, f"expected {usage}, received {len(paths)} paths; dvc.yaml has the whole command", 2)
    try:
        stage(*paths)
    except AtelierError as error:
        _end(name, str(error), error.exit_status)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _end(name, f"{error.strerror or error}{where}; put that right and run again", 1)
    except KeyboardInterrupt:
        _end(name, "interrupted; run again to go on", 130)


def _end(name: str, sentence: str, status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.write(f"error: {name}: {' '.join(sentence.splitlines())}\n")
    raise SystemExit(status)
