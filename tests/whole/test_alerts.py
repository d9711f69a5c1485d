"""`execstream alerts` and `execstream budgets`: their lists, and acts on alerts and budgets."""

from pathlib import Path

from execstream.storage.connections import connect
from tests.dashboard.raising import closed, raised
from tests.whole.program import Program
from tests.worker import Installation, until


async def test_they_are_listed_acknowledged_and_silenced(
    place: Installation, tmp_path: Path
) -> None:
    """Open ones unless all are asked for; an id that is none is a failure with the way out."""
    program = Program(tmp_path, place.settings.environment())
    db = await connect(place.settings.postgres, place.settings.schema_)
    over, alert = await raised(db, "over"), await raised(db, "brittle")
    await closed(db, over)
    await db.close()

    listed = await program("alerts", "list")
    seen = await program("alerts", "acknowledge", str(alert.id), "--by", "ada", "--json")
    quiet = await program("alerts", "silence", str(alert.id), "--minutes", "5")
    every = await program("alerts", "list", "--all", "--json")
    none = await program("alerts", "silence", "999999")
    wrong = await program("alerts", "silence", str(alert.id), "--minutes", "0")

    assert "10 of 20 steps failed within 2 minutes" in listed.out
    assert "over" not in listed.out
    assert (seen.code, seen.json()["acknowledged_by"]) == (0, "ada")
    assert quiet.out.startswith(f"{alert.id}: silent until")
    assert [item["block_id"] for item in every.json_lines()] == ["brittle", "over"]
    assert (none.code, none.out) == (1, "")
    assert "execstream alerts list --all" in none.err
    assert wrong.code == 2


async def test_budgets_are_set_listed_and_removed(place: Installation, tmp_path: Path) -> None:
    """A definition takes effect by the catalogue; one that no worker would take is a failure."""
    program = Program(tmp_path, place.settings.environment())
    limits = ("--per", "user_day", "--cost", "500", "--user", "ada", "--terminate", "--json")
    budget = {"id": "daily", "per": "user_day", "cost": 500, "action": "terminate"}
    budget |= {"graph_id": None, "user_id": "ada"}
    counts = "select count(*) from budget"

    async with place.worker():
        told = await program("budgets", "set", "daily", *limits)
        await until(lambda: place.db.fetchval(counts))
        listed = await program("budgets", "list", "--json")
        wrong = await program("budgets", "set", "daily", *limits, "--graph", "g")
        gone = await program("budgets", "remove", "daily", "--json")

        async def is_empty() -> bool:
            return bool(await place.db.fetchval(counts) == 0)

        await until(is_empty)

    assert (told.json(), listed.json()) == (budget, budget)
    assert (wrong.code, wrong.err) == (1, "A budget per user_day has no graph_id.\n")
    assert gone.json() == {"id": "daily"}
