"""Every field of every command at its extremes: no worker ends or grows, no other command waits for
long, and each record has the outcome that the contract gives it.
"""

import json
from collections.abc import Callable

import msgspec
import pytest

from execstream.streams.decoding import MAX_COMMAND_BYTES, decode
from execstream.streams.outcomes import Dead
from tests.attacks.extremes import Extreme, extremes
from tests.attacks.target import Target
from tests.orders import Order, Orders, encoded

pytestmark = [pytest.mark.attacks, pytest.mark.timeout(300)]

_HOLE = "the value of the field"


@pytest.mark.parametrize("extreme", list(extremes()), ids=str)
async def test_an_extreme_value_harms_nobody(under_attack: Target, extreme: Extreme) -> None:
    """The record is a dead letter where its value is illegal, and a command where it is legal."""
    run = Orders()
    await under_attack.put([run.create(), run.give("a")])
    key, value = _filled(run, extreme)
    judged = decode(key, value)

    [(partition, offset)] = await under_attack.attack(str(extreme), [Order(key, value)])

    reason = await under_attack.place.db.fetchval(
        'select reason from dead_letter where partition = $1 and "offset" = $2', partition, offset
    )
    assert reason == (judged.reason if isinstance(judged, Dead) else None)


def _filled(run: Orders, extreme: Extreme) -> tuple[bytes, bytes]:
    """Key and value of the command, as large as it may be if the value of the field takes more."""
    command = _COMMANDS[extreme.command](run)
    fields = json.loads(command.value or b"")
    template = encoded(fields | {extreme.field: _HOLE})
    hole = msgspec.json.encode(_HOLE)
    value = template.replace(hole, extreme.fill(MAX_COMMAND_BYTES - len(template) + len(hole)))
    return command.key or b"", value


# By type: a command that is applied to a run with the step "a"; a new run for `graph.create`.
_COMMANDS: dict[str, Callable[[Orders], Order]] = {
    "graph.create": lambda run: Orders(user_id=run.user_id).create(),
    "graph.start": lambda run: run.start(),
    "graph.update": lambda run: run.order("graph.update", stats={}),
    "graph.share": lambda run: run.order("graph.share", is_shared=True, share_token_hash="0" * 64),
    "graph.delete": lambda run: run.order("graph.delete"),
    "node.input": lambda run: run.give("b"),
    "node.output": lambda run: run.emit("a"),
    "node.update": lambda run: run.move_step("a", "RUNNING"),
    "node.update_many": lambda run: run.move_steps(["a"], "RUNNING"),
    "kv.set": lambda run: run.keep(),
}
