"""The answers of several processes of a worker are one answer, and their counts one sum."""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from execstream.agents.runtime.merged_probes import (
    Answer,
    Counts,
    merge_life,
    merge_readiness,
)
from execstream.config.cores import processes_for, usable_cores

WELL = {"postgres": True, "kafka": True, "redis": True, "reasons": {}, "waiting": {}}


def _life(status: int = 200, **document: Any) -> Answer:
    return Answer(status, json.dumps({"stalled": [], "held_back": []} | document))


def _readiness(status: int = 200, **document: Any) -> Answer:
    return Answer(status, json.dumps(WELL | document))


def _told(commands: int, started: int = 1, partition: int = 0, lag: float = 0.0) -> str:
    return f"""# HELP execstream_commands_total Commands.
# TYPE execstream_commands_total counter
execstream_commands_total{{type="graph.create"}} {commands}
# TYPE execstream_partitions_owned gauge
execstream_partitions_owned 4
# TYPE execstream_lag_seconds gauge
execstream_lag_seconds{{partition="{partition}"}} {lag}
# TYPE execstream_batch_records histogram
execstream_batch_records_bucket{{le="+Inf"}} {commands}
execstream_batch_records_sum {commands}
execstream_batch_records_count {commands}
# TYPE execstream_worker_info gauge
execstream_worker_info{{role="apply"}} 1
# TYPE process_start_time_seconds gauge
process_start_time_seconds {started}
"""


def _read(counts: Counts) -> dict[str, float]:
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(counts.exposition().decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([_life(), _life()], "alive"),
        ([_life(held_back=["commands[0]"]), _life()], "held back"),
        ([_life(), _life(503, stalled=["commands[1]"])], "stalled"),
        ([_life(), None], "silent"),
        ([_life(503, stalled=["commands[1]"]), None], "stalled"),
    ],
)
def test_alive_is_who_is_alive_in_all_processes(answers: list[Answer | None], status: str) -> None:
    """One that stands still or does not answer speaks for the worker."""
    assert merge_life(dict(enumerate(answers)))["status"] == status


def test_life_names_what_stands_still() -> None:
    """The answer covers all processes, and lists the silent ones."""
    stalled = (_life(503, stalled=[name]) for name in ("commands[3]", "commands[1]"))
    merged = merge_life(dict(enumerate((*stalled, None), 1)))
    assert merged["stalled"] == ["commands[1]", "commands[3]"]
    assert merged["silent"] == [3]


def test_ready_is_who_is_ready_in_all_processes() -> None:
    """Causes are those of all processes."""
    assert merge_readiness({1: _readiness(), 2: _readiness()}) == WELL | {"status": "ready"}
    away = _readiness(503, redis=False, reasons={"redis": "ConnectionError"})
    waits = _readiness(503, waiting={"commit": "OSError"})
    merged = merge_readiness({1: away, 2: waits, 3: None})
    assert merged == WELL | {
        "status": "not ready",
        "redis": False,
        "reasons": {"redis": "ConnectionError"},
        "waiting": {"commit": "OSError", "process 3": "does not answer"},
    }


def test_nobody_says_that_servers_answer() -> None:
    """While no process does."""
    assert merge_readiness({1: None})["postgres"] is False


def test_counts_are_added_up() -> None:
    """Counters, histograms and gauges are summed by name and labels; equal values appear once."""
    counts = Counts()
    counts.take(1, 1, _told(commands=10, started=7))
    counts.take(2, 1, _told(commands=5, started=9, partition=1, lag=2.5))
    told = _read(counts)
    assert told["execstream_commands_total graph.create"] == 15
    assert told["execstream_batch_records_bucket +Inf"] == 15
    assert told["execstream_batch_records_count"] == 15
    assert told["execstream_partitions_owned"] == 8
    assert told["execstream_lag_seconds 1"] == 2.5
    assert told["execstream_worker_info apply"] == 1
    assert told["process_start_time_seconds"] == 9


def test_a_sum_of_counts_never_falls() -> None:
    """Neither while a process is silent, nor when another has taken its place."""
    counts = Counts()
    counts.take(1, 1, _told(commands=10))
    counts.take(2, 1, _told(commands=5, lag=3.0))

    counts.take(1, 1, None)
    told = _read(counts)
    assert told["execstream_commands_total graph.create"] == 15
    assert told["execstream_partitions_owned"] == 4

    counts.take(1, 1, _told(commands=11))  # it was slow
    assert _read(counts)["execstream_commands_total graph.create"] == 16

    counts.take(1, 2, None)
    counts.take(1, 2, _told(commands=1))
    counts.take(2, 2, _told(commands=0))
    told = _read(counts)
    assert told["execstream_commands_total graph.create"] == 17
    assert told["execstream_batch_records_sum"] == 17
    assert told["execstream_partitions_owned"] == 8


def test_a_limit_of_a_container_counts(tmp_path: Path) -> None:
    """It counts where it is lower than the number of cores; at least one core is there."""
    quota = tmp_path / "cpu.max"
    cores = usable_cores(quota)
    assert cores >= 1
    for text, expected in (("max 100000", cores), ("150000 100000", 1), ("50000 100000", 1)):
        quota.write_text(text)
        assert usable_cores(quota) == expected


def test_processes_have_work() -> None:
    """A partition each, at most; a core is left for the servers."""
    assert processes_for(1) == 1
    assert processes_for(10_000) == max(1, usable_cores() - 1)
