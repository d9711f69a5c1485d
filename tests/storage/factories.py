"""Rows in any state, put straight into the tables, as a commit would have left them."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec

from execstream import connect
from execstream.models import BlockType
from execstream.storage.schema.migrate import migrate

DAWN = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
OWNER = "ada"


def at(seconds: float) -> datetime:
    """So many seconds after the dawn of the tests."""
    return DAWN + timedelta(seconds=seconds)


class Tables:
    """Migrated tables in a schema of their own, and a pool that reads them."""

    def __init__(self, db: asyncpg.Pool) -> None:
        self.db = db
        self._last_seq: Counter[str] = Counter()

    async def run(self, **columns: object) -> str:
        """Add a run, COMPLETED by default, and return its id."""
        created_at = columns.get("created_at", DAWN)
        row = {
            "id": str(uuid4()),
            "user_id": OWNER,
            "graph_id": "graph",
            "graph_version": 1,
            "status": "COMPLETED",
            "dry_run": False,
            "is_deleted": False,
            "is_shared": False,
            "created_at": created_at,
            "updated_at": created_at,
            "last_seq": 0,
            "source_partition": 0,
        } | columns
        await self._insert("graph_execution", row)
        return str(row["id"])

    async def step(self, run_id: str, **columns: object) -> str:
        """Add a step to a run, by default COMPLETED and queued when it was added."""
        added_time = columns.get("added_time", DAWN)
        row = {
            "id": str(uuid4()),
            "graph_exec_id": run_id,
            "run_day": await self._day_of(run_id),
            "node_id": "node",
            "block_id": "block",
            "status": "COMPLETED",
            "added_seq": self._next_seq(run_id),
            "added_time": added_time,
            "queued_time": added_time,
        } | columns
        await self._insert("node_execution", row)
        return str(row["id"])

    async def given(self, run_id: str, step_id: str, **values: object) -> None:
        """Give values to input pins of a step."""
        for name, value in values.items():
            await self.entry(run_id, "node.input_added", step_id, name, value)

    async def emitted(self, run_id: str, step_id: str, name: str, *values: object) -> None:
        """Have an output pin of a step emit values."""
        for value in values:
            await self.entry(run_id, "node.output_added", step_id, name, value)

    async def entry(
        self, run_id: str, entry_type: str, step_id: str, name: str, data: object
    ) -> None:
        """Append an entry to the journal of a run."""
        seq = self._next_seq(run_id)
        await self._insert(
            "journal",
            {
                "graph_exec_id": run_id,
                "seq": seq,
                "run_day": await self._day_of(run_id),
                "at": DAWN,
                "command_id": str(uuid4()),
                "type": entry_type,
                "node_exec_id": step_id,
                "name": name,
                "source_partition": 0,
                "source_offset": seq,
                "source_index": 0,
            },
        )
        # An SQL null is not a JSON null: only as text does a value arrive unchanged.
        await self.db.execute(
            "update journal set data = $3::text::jsonb where graph_exec_id = $1 and seq = $2",
            run_id,
            seq,
            msgspec.json.encode(data).decode(),
        )

    async def block(self, block_id: str, block_type: BlockType) -> None:
        """Add a block to the catalogue."""
        await self._insert(
            "block", {"id": block_id, "name": block_id, "block_type": str(block_type)}
        )

    async def graph(self, graph_id: str, name: str, description: str | None = None) -> None:
        """Add a graph, version 1, to the catalogue."""
        await self._insert(
            "graph", {"id": graph_id, "version": 1, "name": name, "description": description}
        )

    async def key_value(self, user_id: str, key: str, json: str) -> None:
        """Keep a value, given as the text of its JSON."""
        await self.db.execute(
            "insert into kv_data (user_id, key, node_exec_id, data, updated_at)"
            " values ($1, $2, $3, $4::text::jsonb, $5)",
            user_id,
            key,
            str(uuid4()),
            json,
            DAWN,
        )

    async def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self.db.execute(
            f"insert into {table} ({', '.join(row)}) values ({marks})", *row.values()
        )

    async def _day_of(self, run_id: str) -> object:
        return await self.db.fetchval(
            "select (created_at at time zone 'UTC')::date from graph_execution where id = $1",
            run_id,
        )

    def _next_seq(self, run_id: str) -> int:
        self._last_seq[run_id] += 1
        return self._last_seq[run_id]


@asynccontextmanager
async def fresh_tables(dsn: str) -> AsyncIterator[Tables]:
    """Lend tables of the test's own, and drop them afterwards."""
    schema = f"reads{uuid4().hex[:12]}"
    await migrate(dsn, schema)
    db = await connect(dsn, schema)
    try:
        yield Tables(db)
        await db.execute(f"set client_min_messages = error; drop schema {schema} cascade")
    finally:
        await db.close()
