"""`replay --into` from its beginning to its report."""

from dataclasses import dataclass

from execstream.recovery.replay.bounds import Asked
from execstream.recovery.replay.proof import Proof, prove
from execstream.recovery.replay.rebuild import Rebuild, Tell
from execstream.recovery.replay.sessions import session
from execstream.recovery.replay.swap import swap
from execstream.settings import Settings
from streams.errors import Fatal


class NotSwapped(Fatal):
    """The rebuilt schema may not take the place of the live one."""


@dataclass(frozen=True)
class Report:
    """What became of a replay. `replayed`: commands, by this call, in `seconds`; without `proof`
    there was no live schema to compare with."""

    schema: str
    replayed: int
    seconds: float
    proof: Proof | None
    swapped: bool

    @property
    def is_good(self) -> bool:
        return self.swapped or self.proof is None or self.proof.is_equal


async def replay_into(
    settings: Settings, schema: str, asked: Asked, tell: Tell, *, swapping: bool, force: bool
) -> Report:
    """Rebuild into `schema` and compare with the live schema. If told to, let it take its place:
    when they are the same, or when forced.

    Raises OutOfReach, NotThatRebuild, NoLongerInTopic, TakenOver, NotSwapped or NotExchangeable.
    """
    if swapping and asked.end:
        raise NotSwapped("What ends before the live schema does cannot take its place: no --until.")
    async with session(settings.postgres, schema) as connection:
        rebuild = await Rebuild.prepare(settings, schema, asked, connection)
        await rebuild.run(tell)
        tell("Comparing", 0, 1)
        proof = await prove(rebuild)
        may_swap = swapping and (force or proof is None or proof.is_equal)
        if may_swap:
            await swap(rebuild)
        return Report(schema, rebuild.replayed, rebuild.seconds, proof, may_swap)
