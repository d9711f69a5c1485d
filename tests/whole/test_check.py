"""`execstream check`: the verdict of the worker's decoder on lines that were not sent."""

import json
from pathlib import Path

import pytest

from execstream.streams.decoding import decode
from execstream.streams.outcomes import Dead
from execstream.streams.partitions import partition_of
from tests.orders import Order, Orders, replaced
from tests.whole.bad_records import DEAD
from tests.whole.program import Program

# A record of these cases is one line of text, with the key that it names.
LINES = {
    name: order
    for name, case in DEAD.items()
    if (order := case.make(Orders())[-1]).value
    and order.partition is None
    and not set(b"\r\n") & set(order.value)
    and len(order.value) < 100_000
    and case.expected not in ("key_mismatch", "wrong_partition")
}


async def test_each_bad_record_has_its_reason(lost_program: Program, tmp_path: Path) -> None:
    """Each has the reason and the sentence of the worker, under its line; good lines have none."""
    good = Orders().start()
    lines = [good.value or b"", *(order.value or b"" for order in LINES.values())]
    (tmp_path / "commands.jsonl").write_bytes(b"\r\n\n".join(lines))

    done = await lost_program("check", "commands.jsonl", "--json")

    assert (done.code, done.err) == (1, "")
    first, *others = done.json_lines()
    assert (first["line"], first["reason"], first["partition"]) == (
        *(1, None, partition_of(good.key or b"", 8)),
    )
    for number, (found, order) in enumerate(zip(others, LINES.values(), strict=True), start=1):
        key = None if found["key"] is None else found["key"].encode()
        dead = decode(key, order.value)
        assert isinstance(dead, Dead)
        assert (found["line"], found["reason"]) == (1 + 2 * number, dead.reason)
        assert found["message"] == dead.detail["message"]


async def test_sentences_and_sums(lost_program: Program, tmp_path: Path) -> None:
    """Without --json there is a sentence for each wrong line, and the partitions of all."""
    orders = [Orders().start() for _ in range(40)]
    orders[3] = replaced(orders[3], at="2026-03-01T06:30:00")
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(order.value or b"" for order in orders))

    done = await lost_program("check", "x.jsonl", "--partitions", "3")

    wrong, sums, partitions = done.out.splitlines()
    assert wrong.startswith("Line 4: invalid_field. $.at: Expected an RFC 3339 time")
    assert sums == "40 lines, 1 of them wrong."
    of = [partition_of(order.key or b"", 3) for order in orders]
    counts = ", ".join(f"{number}: {of.count(number)}" for number in sorted(set(of)))
    assert partitions == f"Lines by partition of 3: {counts}."


@pytest.mark.parametrize(("key", "reason"), [(b"", None), (b"x", "key_mismatch")])
async def test_keys_before_a_tab(lost_program: Program, key: bytes, reason: str | None) -> None:
    """With --keys the record has the key that is written, be it the wrong one."""
    order: Order = Orders().start()
    line = (key or order.key or b"") + b"\t" + (order.value or b"")

    done = await lost_program("check", "--keys", "--json", "-", stdin=line)

    (found,) = done.json_lines()
    assert (found["reason"], done.code) == (reason, 1 if reason else 0)
    assert found["key"] == (key or order.key or b"").decode()


async def test_a_line_without_its_key(lost_program: Program) -> None:
    """A record without a key is a key_mismatch."""
    done = await lost_program("check", "--keys", "--json", stdin=Orders().start().value or b"")
    (found,) = done.json_lines()
    assert (found["reason"], found["key"], found["partition"]) == ("key_mismatch", None, None)


async def test_the_limit_of_the_installation(lost_program: Program) -> None:
    """The size that is taken is that of the settings."""
    strict = Program(lost_program.directory, {"EXECSTREAM_MAX_COMMAND_BYTES": "1024"})
    value = Orders().order("graph.update", stats={"a": "x" * 1_024}).value or b""
    assert json.loads((await lost_program("check", "--json", stdin=value)).out)["reason"] is None
    assert json.loads((await strict("check", "--json", stdin=value)).out)["reason"] == "too_large"
