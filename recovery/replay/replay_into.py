"""`replay --into` from its beginning to its report."""

from dataclasses import dataclass

from execstream.config.settings import Settings
from execstream.recovery.replay.bounds import Asked
from execstream.recovery.replay.proof import Proof, prove
from execstream.recovery.replay.rebuild import Rebuild
from execstream.recovery.replay.swap import swap
from execstream.recovery.replay.unreadable_runs import runs_left_out
from execstream.storage import connections
from execstream.storage.connections import REPLAY
from execstream.storage.unreadable_rows import MOST_NOTED, noted
from execstream.streams.errors import Fatal
from execstream.streams.progress import ProgressCallback


class NotSwapped(Fatal):
    """The rebuilt schema may not take the place of the live one."""


@dataclass(frozen=True)
class Report:
    """The result of a replay. `replayed`: commands, by this call, in `seconds`; without `proof`
    there was no live schema to compare with. `left_out`: data that differs, or was not compared.
    `unreadable`: runs that were not rebuilt, because a stored row cannot be read.
    """

    schema: str
    replayed: int
    seconds: float
    proof: Proof | None
    swapped: bool
    left_out: list[str]
    unreadable: list[str]

    @property
    def is_good(self) -> bool:
        is_proven = self.swapped or self.proof is None or self.proof.is_equal
        return is_proven and not self.unreadable


async def replay_into(
    settings: Settings,
    schema: str,
    asked: Asked,
    report_progress: ProgressCallback,
    *,
    swapping: bool,
    force: bool,
) -> Report:
    """Rebuild into `schema` and compare with the live schema. With `swapping`, let it take its
    place: when they are the same, or with `force`; not when runs were left out.

    Raises OutOfReach, NotThatRebuild, NoLongerInTopic, TakenOver, NotSwapped or NotExchangeable.
    """
    if swapping and asked.end:
        raise NotSwapped(
            "A replay that ends before the live schema cannot take its place: leave --until out."
        )
    async with connections.connection(settings.postgres, schema, REPLAY) as connection:
        rebuild = await Rebuild.prepare(settings, schema, asked, connection)
        await rebuild.run(report_progress)
        proof = await prove(rebuild, report_progress)
        unreadable = sorted(map(str, await runs_left_out(connection)))
        noted.update(unreadable[:MOST_NOTED])
        # Not even by force: a swap would lose them.
        may_swap = swapping and not unreadable and (force or proof is None or proof.is_equal)
        if may_swap:
            await swap(rebuild)
        left_out = [] if proof is None else proof.left_out
        return Report(
            schema=schema,
            replayed=rebuild.replayed,
            seconds=rebuild.seconds,
            proof=proof,
            swapped=may_swap,
            left_out=[*left_out, *rebuild.left_out()],
            unreadable=unreadable,
        )
