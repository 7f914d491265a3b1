"""The grug command: a few lines each.

A command only understands its arguments; it returns a ``Job`` that does the work in a loop and
with a clock of its own choice (real for ``run``, virtual for ``demo --fast``).
"""

from __future__ import annotations

import os
import sys
from functools import partial

import asyncclick as click
import trio

from grug.cli.commands import Job, cli
from grug.errors import GrugError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main() -> None:
    """Entry point; exit status 0 is good, 1 a failed run, 2 bad input."""
    try:
        sys.exit(_run())
    except* KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _run() -> int:
    try:
        job: Job | int | None = trio.run(partial(cli.main, standalone_mode=False))
        return job() if callable(job) else job or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except GrugError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except BrokenPipeError:  # The reader, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"{error.filename}: {error.strerror}\n")
        return 1
