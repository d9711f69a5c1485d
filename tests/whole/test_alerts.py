"""`execstream alerts`: its list, and acts on alerts."""

from pathlib import Path

from execstream.storage.connections import connect
from tests.dashboard.raising import closed, raised
from tests.whole.program import Program
from tests.worker import Installation


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
