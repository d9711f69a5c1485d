"""Ctrl-C while a command connects: asyncio's report of the cut connection is no output of ours."""

import asyncio
import logging

import pytest

from execstream.cli.endings import without_reports_of_cut_connections


async def _connect(error: Exception, *, is_interrupted: bool) -> None:
    """Leave a future with the error behind, as asyncpg does when it is cancelled."""
    task = asyncio.current_task()
    assert task is not None
    if is_interrupted:
        task.cancel()
    asyncio.get_running_loop().create_future().set_exception(error)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("error", "is_interrupted", "reports"),
    [
        (ConnectionError("unexpected connection_lost() call"), True, 0),
        (ConnectionError("unexpected connection_lost() call"), False, 1),
        (ValueError("a fault of ours"), True, 1),
    ],
)
def test_reports(
    caplog: pytest.LogCaptureFixture, error: Exception, is_interrupted: bool, reports: int
) -> None:
    """Only connection errors, and only after Ctrl-C, are left out."""
    with caplog.at_level(logging.ERROR, "asyncio"):
        try:
            asyncio.run(
                without_reports_of_cut_connections(_connect(error, is_interrupted=is_interrupted))
            )
        except asyncio.CancelledError:
            assert is_interrupted

    assert len(caplog.records) == reports
