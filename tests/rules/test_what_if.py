"""Outcomes of the same commands under other transition tables; and redaction."""

import json
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execstream.recovery.bundles.lines import (
    BrokenBundle,
    EntryLine,
    Redactor,
    encode_line,
    read_lines,
)
from execstream.recovery.bundles.redaction import Redaction
from execstream.recovery.bundles.secrets import PATTERNS
from execstream.recovery.explain.record import id_in
from execstream.recovery.what_if.comparison import NoTable, WhatIf, table_of
from execstream.recovery.what_if.trial import read_table
from execstream.streams.commands import RunCommand
from execstream.streams.decoding import decode
from execstream.streams.redriving import NotEditable, named_key, with_fields
from execstream.streams.statuses import ALLOWED_FROM, ExecutionStatus
from execstream.workload.simulation import load_graphs
from tests.faults.feeding import small_records
from tests.orders import Order, Orders
from tests.worker import HOME

GRAPHS = HOME / "examples" / "graphs"
S = ExecutionStatus
# A run in review may be completed at once, and terminated ones stay so.
CHANGED = {
    **ALLOWED_FROM,
    S.COMPLETED: {S.RUNNING, S.REVIEW},
    S.RUNNING: {S.INCOMPLETE, S.QUEUED, S.REVIEW},
}


def understood(orders: list[Order]) -> list[RunCommand]:
    commands = [decode(order.key, order.value) for order in orders]
    return [command for command in commands if isinstance(command, RunCommand)]


def test_the_table_that_holds_changes_nothing() -> None:
    """Thousands of simulated commands, illegal ones among them, have the same outcomes."""
    same = WhatIf(table_of({to: set(sources) for to, sources in ALLOWED_FROM.items()}))
    for record in islice(small_records(load_graphs(GRAPHS), 1), 3_000):
        command = decode(record.key, record.value)
        if isinstance(command, RunCommand):
            same.add(command)
    assert same.runs > 10
    assert same.differences() == []


def test_runs_that_would_have_ended_differently() -> None:
    """Each with both ends, the first command with another outcome, and how many have one; runs
    that no changed move was asked of are not named."""
    reviewed, resumed, plain = Orders(), Orders(), Orders()
    orders = [
        *(reviewed.create(reviewed.node("a")), reviewed.start(), reviewed.move("REVIEW")),
        *(reviewed.move("COMPLETED"), reviewed.move("FAILED")),
        *(resumed.create(resumed.node("a")), resumed.move("TERMINATED"), resumed.start()),
        *(plain.create(), plain.start(), plain.move("COMPLETED"), plain.move("RUNNING")),
    ]
    changed = WhatIf(table_of(CHANGED))
    for command in understood(orders):
        changed.add(command)

    first, second = changed.differences()

    assert (first.graph_exec_id, first.ends_differently) == (reviewed.run_id, True)
    assert (first.was.status, first.would_be.status) == (S.FAILED, S.COMPLETED)
    parting = first.parting
    assert parting is not None
    assert parting.command_id == reviewed.named("command/4")
    assert (parting.was, parting.would_be) == ("refused illegal_transition", "applied")
    assert parting.commands == 2
    assert (second.was.status, second.would_be.status) == (S.RUNNING, S.TERMINATED)
    assert second.was.steps == {S.QUEUED: 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1", "defines no ALLOWED_FROM"),
        ("ALLOWED_FROM = [1]", "is no dict"),
        ("ALLOWED_FROM = {'DONE': {'RUNNING'}}", "DONE"),
        ("ALLOWED_FROM = {'FAILED': {'DOING'}}", "DOING"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_files_that_are_no_rules(tmp_path: Path, text: str, complaint: str) -> None:
    """The error names their fault."""
    file = tmp_path / "rules.py"
    file.write_text(text)
    with pytest.raises(NoTable, match=complaint):
        read_table(file)


def test_a_copy_of_the_rules_is_a_file_of_rules() -> None:
    """The module of this project can be copied and changed."""
    assert read_table(HOME / "streams" / "statuses.py") == ALLOWED_FROM


# ---- content of bundles ----------------------------------------------------------------------


def test_redaction_of_a_command() -> None:
    """Values below keys and pins that match go, in every shape; the rest keeps its digits, and
    the command stays one."""
    orders = Orders()
    node = orders.node("a", inputs={"API_Key": ["s1", {"x": "s2"}], "n": 1})
    created = orders.create(node, credential_inputs={"c": {"id": "s3"}}, inputs={"deep": [{}]})
    value = (created.value or b"").replace(b"[{}]", b'[{"Password":7,"n":1.10,"tokens":null}]')
    redaction = Redaction()

    redacted = bytes(Redactor(redaction).command(value) or b"")

    assert not [secret for secret in (b"s1", b"s2", b"s3", b":7") if secret in redacted]
    assert b'"n":1.10' in redacted
    assert isinstance(decode(created.key, redacted), RunCommand)
    assert redaction.found == {
        "inputs.deep[].Password": 1,
        "credential_inputs.c.id": 1,
        "starting_nodes[].inputs.API_Key[]": 1,
        "starting_nodes[].inputs.API_Key[].x": 1,
    }
    given = orders.give("a", "my_secret", {"k": "s4"}, extra_token="s5")  # noqa: S106
    redacted = bytes(Redactor(redaction).command(given.value or b"") or b"")
    assert (b"s4" in redacted, b"s5" in redacted) == (False, False)
    stats = orders.move("RUNNING", stats={"input_token_count": 5, "token": "s6"})
    fields = json.loads(bytes(Redactor(redaction).command(stats.value or b"") or b""))
    assert fields["stats"] == {"input_token_count": 5, "token": "[redacted]"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "token", "b"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_redaction_keeps_the_shape(value: object) -> None:
    """Nothing but values below a key that matches is changed, and none of those stays."""
    redacted = json.loads(Redaction(PATTERNS).apply(json.dumps(value).encode(), "data"))
    assert redacted == _redacted(value, is_secret=False)
    assert json.loads(Redaction(()).apply(json.dumps(value).encode(), "token")) == value


def _redacted(value: object, *, is_secret: bool) -> object:
    if isinstance(value, dict):
        return {k: _redacted(v, is_secret=is_secret or k == "token") for k, v in value.items()}
    if isinstance(value, list):
        return [_redacted(one, is_secret=is_secret) for one in value]
    return "[redacted]" if is_secret and value is not None else value


def test_a_bundle_that_was_cut_off() -> None:
    """It is not read, and neither is something else."""
    with pytest.raises(BrokenBundle, match="cut off"):
        read_lines(b'{"kind":"block","id":"b","name":"n","block_type":"AI"}\n')
    with pytest.raises(BrokenBundle, match="no bundle"):
        read_lines(b"hello\n")
    with pytest.raises(BrokenBundle, match="version 9"):
        read_lines(b'{"kind":"end","version":9,"lines":0}\n')
    assert read_lines(b'{"kind":"end","version":1,"lines":0}\n') == []
    assert b'"kind":"entry"' in encode_line(msgspec.convert(_ENTRY, EntryLine))


_ENTRY = {
    "kind": "entry",
    "graph_exec_id": "r",
    "seq": 1,
    "at": "2026-03-01T06:30:00Z",
    "command_id": "c",
    "type": "graph.created",
    "source": [0, 0, 0],
}


def test_fields_that_are_set() -> None:
    """Only they change; paths lead into objects, which are made where they are missing."""
    value = b'{"a": 1.10, "s": {"x": 1e2}}'
    changed = with_fields(value, {"s.y": b'"new"', "t.u": b"[]", "b": b"null"})
    assert changed == b'{"a":1.10,"s":{"x":1e2,"y":"new"},"t":{"u":[]},"b":null}'
    for broken, path in ((b"[]", "a"), (b'{"a":1}', "a.b"), (None, "a"), (b"{", "a")):
        with pytest.raises(NotEditable, match=path):
            with_fields(broken, {path: b"1"})


DEEP = b'{"graph_exec_id":"x","a":' + b"[" * 3_000 + b"]" * 3_000 + b"}"


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'{"graph_exec_id":"x"}', b"x"),
        (b'{"type":"kv.set","user_id":"u","graph_exec_id":"x"}', b"u"),
        (b'{"graph_exec_id":1}', None),
        (b'{"graph_exec_id":"\xff"}', None),
        (b"[]", None),
        (None, None),
        (DEEP, None),
    ],
)
def test_the_key_that_a_value_names(value: bytes | None, key: bytes | None) -> None:
    """None for whatever cannot be read, however bad it is."""
    assert named_key(value) == key


def test_bytes_that_nobody_can_read_have_no_fields() -> None:
    """Bytes nested by the thousand, or not UTF-8, are not editable, and no id is found."""
    for value in (DEEP, b'{"\xff":1}'):
        with pytest.raises(NotEditable):
            with_fields(value, {"a.b": b"1"})
    assert (id_in(DEEP), id_in(b'{"id":"\xff"}')) == (None, None)
