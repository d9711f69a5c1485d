"""Rows missing because their user was forgotten, while the topics still have the records."""

from collections.abc import Mapping, Sequence

import asyncpg
import msgspec

from execstream.recovery.verify.earlier_states import forgotten, owners_of_deleted
from execstream.recovery.verify.row_comparison import Differing
from execstream.storage.schema.tables import DEAD_LETTERS, KEY_VALUE_JOURNAL, REFUSALS
from execstream.streams.errors import NOT_READABLE


class _Signed(msgspec.Struct):
    user_id: str = ""


async def without_forgotten(
    connection: asyncpg.Connection, rows: Sequence[Differing]
) -> list[Differing]:
    """Return `rows` without those that are missing and were about users without any rows.

    A dead letter may name any user: it must be one whose runs were deleted, or other rows miss too.
    """
    missing = [row for row in rows if row.found is None]
    signers = {
        row.value("user_id") for row in missing if row.table in (KEY_VALUE_JOURNAL, REFUSALS)
    }
    letters = {id(row): _named_in(row) for row in missing if row.table is DEAD_LETTERS}
    if not signers and not letters:
        return list(rows)
    names = set().union(*letters.values())
    users = {name: name for name in signers} | await owners_of_deleted(connection, names)
    gone = await forgotten(connection, users.values())
    return [row for row in rows if not _is_gone(row, letters.get(id(row)), users, gone)]


def _is_gone(
    row: Differing, named: set[str] | None, users: Mapping[str, str], gone: set[str]
) -> bool:
    if row.found is not None or row.table not in (KEY_VALUE_JOURNAL, REFUSALS, DEAD_LETTERS):
        return False
    names = {row.value("user_id")} if named is None else named
    return any(users.get(name) in gone for name in names)


def _named_in(letter: Differing) -> set[str]:
    """The key of a dead letter, which is a user or a run, and its signer, if it can be read."""
    texts = [_text(letter.value(column)) for column in ("key", "value")]
    try:
        signed = msgspec.json.decode(texts[1], type=_Signed).user_id
    except NOT_READABLE:
        signed = ""
    return {name for name in (texts[0], signed) if "\0" not in name}  # Postgres has none like it


def _text(column: str | None) -> str:
    r"""A bytea as JSON has it: `\x` and hexadecimal digits."""
    return bytes.fromhex((column or "").removeprefix("\\x")).decode(errors="replace")
