"""Everything that chance decides, from one seed: ids, owners, durations, payloads, figures."""

import hashlib
import math
from bisect import bisect
from itertools import accumulate
from random import Random
from typing import TypeVar

from execstream.workload.simulation.mix import Fate, Mix
from execstream.workload.simulation.wire import Json

SECOND = 1_000_000  # microseconds

_MEDIAN_SECONDS = {"AI": 4.0, "AGENT": 0.5, "STANDARD": 0.8, "MCP_TOOL": 1.5, "WEBHOOK": 0.05}
_SPREAD = 0.9  # sigma of the logarithm
_ZIPF = 1.1

# Payload sizes in bytes: lognormal up to the 90th percentile, and a heavier tail beyond it.
_MEDIAN, _P90, _P99, _CAP = 450, 2_000, 32_000, 900_000
_Z90, _Z99 = 1.2816, 2.3263  # where a standard normal has its 90th and 99th percentile
_BODY = math.log(_P90 / _MEDIAN) / _Z90
_TAIL = math.log(_P99 / _P90) / (_Z99 - _Z90)

_WORDS = (
    "an agent reads the page, asks a model about it and writes down what it learned; naïve "
    "ideas cost little — “good” ones cost tokens. Numbers: 3.14, 42 and 1e2. Straße, café. "
)
_PER_BYTE = len(_WORDS) / len(_WORDS.encode())  # characters
_LOREM = _WORDS * (2 * _CAP // len(_WORDS))

# Attributes with their values, the first of which most runs have.
_ATTRIBUTES = {
    "environment": ("production", "staging", "development"),
    "region": ("eu-west", "us-east", "ap-south"),
    "campaign": ("spring", "summer", "autumn — “last call”"),
}

_ESCAPE = "\\u0000 "

_T = TypeVar("_T")


class Draws:
    """A seeded source of chance; the same seed and the same questions give the same answers."""

    def __init__(self, seed: int | str, owners: int) -> None:
        self._random = Random(seed)  # noqa: S311 - must be repeatable, guards nothing
        weights = (1 / rank**_ZIPF for rank in range(1, owners + 1))
        self._owners = list(accumulate(weights))

    def happens(self, share: float) -> bool:
        """True in this share of the cases."""
        return self._random.random() < share

    def integer(self, low: int, high: int) -> int:
        """Any of low … high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def one_of(self, choices: list[_T]) -> _T:
        """Any of them."""
        return choices[self.integer(0, len(choices) - 1)]

    def fate(self, mix: Mix) -> Fate:
        """The fate of a run."""
        at = self._random.random()
        for fate, share in mix.fates():
            if at < share:
                return fate
            at -= share
        return Fate.COMPLETED

    def uuid(self, now: int) -> str:
        """A UUIDv7 of the time `now`, in microseconds since 1970."""
        bits = self._random.getrandbits(74)
        tail = f"{0x8000_0000_0000_0000 | bits & (1 << 62) - 1:016x}"
        time = f"{now // 1000:012x}"
        return f"{time[:8]}-{time[8:]}-7{bits >> 62:03x}-{tail[:4]}-{tail[4:]}"

    def attributes(self, run_id: str, mix: Mix) -> dict[str, str]:
        """Attributes of a run, or none; drawn by its id, apart from all else."""
        chance = Random(run_id)  # noqa: S311 - must be repeatable, guards nothing
        if chance.random() >= mix.attributed:
            return {}
        return {
            key: values[min(int(chance.expovariate(1.5)), len(values) - 1)]
            for key, values in _ATTRIBUTES.items()
        }

    def owner(self) -> str:
        """One of the owners; the first have most of the runs (Zipf)."""
        at = self._random.random() * self._owners[-1]
        return f"user-{bisect(self._owners, at) + 1:04d}"

    def microseconds(self, median_seconds: float) -> int:
        """A lognormal duration with this median."""
        return int(median_seconds * SECOND * self._random.lognormvariate(0, _SPREAD)) + 1

    def duration(self, block_type: str) -> int:
        """The duration of a step, in microseconds."""
        return self.microseconds(_MEDIAN_SECONDS.get(block_type, 0.005))

    def payload(self, mix: Mix) -> Json:
        """A value on a pin: mostly text, sometimes an object or a list of texts."""
        size = mix.payload_bytes or self._payload_size()
        kind = self._random.random()
        length = int(size * _PER_BYTE)
        if mix.escapes and self.happens(mix.escapes):
            return _ESCAPE + self.text(length - len(_ESCAPE))
        if kind < 0.8:
            return self.text(length)
        if kind < 0.95:
            about = {"title": self.text(24), "score": self.figure(1), "found": True}
            return about | {"body": self.text(max(length - 80, 8))}
        return [self.text(length // 4) for _ in range(4)]

    def text(self, length: int) -> str:
        """Some words, `length` characters of them."""
        start = self.integer(0, 10_000)
        return _LOREM[start : start + length]

    def figure(self, up_to: float) -> float:
        """A number with at most six decimals."""
        return round(self._random.random() * up_to, 6)

    def _payload_size(self) -> int:
        z = self._random.gauss(0, 1)
        if z <= _Z90:
            return int(_MEDIAN * math.exp(_BODY * z))
        return min(int(_P90 * math.exp(_TAIL * (z - _Z90))), _CAP)


def derived_id(command_id: str, name: str) -> str:
    """`uuid5(command_id, name)`, the id that a step gets when the command names none."""
    seed = bytes.fromhex(command_id.replace("-", "")) + name.encode()
    digest = hashlib.sha1(seed, usedforsecurity=False).hexdigest()
    variant = f"{int(digest[16], 16) & 3 | 8:x}"
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
