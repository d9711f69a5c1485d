"""Budgets, as the catalogue has them."""

from datetime import date

import asyncpg

from execstream.storage.schema.tables import BUDGETS
from execstream.storage.unreadable_rows import readable, reading_row
from execstream.streams.totals.budgets import Action, Budget, Per


async def load_budgets(connection: asyncpg.Connection) -> tuple[date, list[Budget]]:
    """Return today and the budgets."""
    rows = await connection.fetch(
        "select id, per, cost, action, graph_id, user_id from budget order by id"
    )
    today: date = await connection.fetchval("select current_date")
    return today, readable(rows, _budget)


def _budget(row: asyncpg.Record) -> Budget:
    with reading_row(BUDGETS.name):
        fields = dict(row, per=Per(row["per"]), action=Action(row["action"]))
        return Budget(**fields)
