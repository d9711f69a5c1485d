"""The catalogue as a worker reads it: bad records are skipped, and a fence is no end."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from execstream.devstack import Addresses
from execstream.streams.topics import CATALOGUE
from tests.worker import Installation, installation, until


@pytest.fixture
async def place(stack: Addresses, tmp_path: Path) -> AsyncIterator[Installation]:
    async with installation(stack, tmp_path) as own:
        yield own


def block(name: str) -> tuple[bytes, bytes]:
    """Key and value that define a block."""
    about = {"type": "block.define", "block_id": name, "name": name, "block_type": "AI"}
    return f"block:{name}".encode(), json.dumps(about).encode()


async def deliver(place: Installation, *records: tuple[bytes, bytes | None]) -> None:
    """Put records on the catalogue topic, in one batch of the producer where they fit."""
    sent = [
        await place.producer.send(place.topic(CATALOGUE.name), value, key, partition=0)
        for key, value in records
    ]
    for acknowledged in sent:
        await acknowledged


async def blocks(place: Installation, *names: str) -> None:
    """Return when these are the blocks there are."""

    async def are_there() -> bool:
        rows = await place.db.fetch("select id from block")
        return {row["id"] for row in rows} == set(names)

    await until(are_there)


async def test_bad_records_harm_nothing_beside_them(place: Installation) -> None:
    """Null values under keys that Postgres would refuse among them; good records are stored, and
    the worker that read them lives on.
    """
    async with place.worker() as worker:
        await deliver(
            place,
            block("before"),
            block("gone"),
            (b"graph:g:99999999999", None),
            (b"graph:g:" + b"1" * 5_000, None),
            (b"block:\x00", None),
            (b"block:\xff", None),
            (b"block:deep", b'{"type": "block.define", "more": ' + b"[" * 100_000),
            (b"block:gone", None),
            block("after"),
        )
        await blocks(place, "before", "after")
        dead = await place.db.fetchval(
            "select dead from consumer_offset where consumer = $1", "catalogue"
        )

        assert dead == len(worker.said("not_in_catalogue")) == 5


async def test_who_was_fenced_off_claims_the_catalogue_again(place: Installation) -> None:
    """As after a swap of the schema: no other worker has the partition, so uncommitted records are
    read again.
    """
    async with place.worker() as worker:
        await deliver(place, block("one"))
        await blocks(place, "one")
        await place.db.execute(
            "update consumer_offset set epoch = epoch + 1 where consumer = 'catalogue'"
        )
        await deliver(place, block("two"))
        await blocks(place, "one", "two")

        assert worker.said("fenced")
