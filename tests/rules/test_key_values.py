"""Key-values: the newest `at` wins, a command counts once, users are apart."""

from execstream.streams.commands import SetKeyValue
from execstream.streams.decoding import decode
from execstream.streams.key_values import KeyValues, fold_key_value
from execstream.streams.outcomes import Applied, Duplicate, Refusal, Refused
from tests.orders import DAWN, Order, Orders

NINE, TEN = "2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z"


def kept(order: Order) -> SetKeyValue:
    command = decode(order.key, order.value)
    assert isinstance(command, SetKeyValue)
    return command


def test_the_newest_wins() -> None:
    """An older one is refused with the stored time; one of the same time replaces."""
    orders, known = Orders(), KeyValues()

    assert fold_key_value(known, kept(orders.keep(at=TEN))) == Applied()
    older = fold_key_value(known, kept(orders.keep(at=NINE)))
    assert isinstance(older, Refused)
    assert older.reason is Refusal.SUPERSEDED
    assert fold_key_value(known, kept(orders.keep(at="2026-03-01T11:00:00+01:00"))) == Applied()
    assert fold_key_value(known, kept(orders.keep("other", at=NINE))) == Applied()


def test_a_command_counts_once() -> None:
    """So does one that is older than later writes; a refused one is judged afresh."""
    orders, known = Orders(), KeyValues()
    first = kept(orders.keep(at=NINE))
    fold_key_value(known, first)
    fold_key_value(known, kept(orders.keep(at=TEN)))

    assert fold_key_value(known, first) == Duplicate(Applied())
    refused = orders.keep(at=NINE)
    assert isinstance(fold_key_value(known, kept(refused)), Refused)
    known.written.clear()
    assert fold_key_value(known, kept(refused)) == Applied()


def test_users_are_apart() -> None:
    """The same key, and even the same command id."""
    orders, known = Orders(), KeyValues()
    shared = {"id": orders.named("same"), "at": DAWN.isoformat()}

    assert fold_key_value(known, kept(orders.keep(**shared))) == Applied()
    assert fold_key_value(known, kept(orders.keep(user_id="eve", **shared))) == Applied()
