"""Processes that begin with the modules of a worker loaded, since these take most of its start."""

import asyncio
import atexit
import multiprocessing
import os
import runpy
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_POLL = 0.02  # seconds
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.worker"])


@dataclass(frozen=True)
class ForkedProcess:
    """The interface of `asyncio.subprocess.Process`, for a process without pipes."""

    _process: BaseProcess

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> int:
        while self.returncode is None:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(_POLL)
        return self.returncode


def fork(
    module: str, arguments: tuple[str, ...], environment: dict[str, str], log: Path
) -> ForkedProcess:
    """Run `python -m module arguments` with its output in `log`."""
    log.touch()  # it can be read from now on
    process = _FORKS.Process(target=_run, args=(module, arguments, environment, log), name=module)
    process.start()
    # Not a daemon, which may have no children: a worker rehearses batches in one.
    atexit.register(process.kill)
    return ForkedProcess(process)


def _run(module: str, arguments: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for standard in (sys.stdout, sys.stderr):
        os.dup2(output, standard.fileno())
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    sys.modules.pop(module, None)  # of which runpy would warn
    runpy.run_module(module, run_name="__main__", alter_sys=True)
