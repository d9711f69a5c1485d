"""The runs of which a listener receives events."""

import re
from dataclasses import dataclass

EVERY = "*"

# The characters of ids; any other could be a pattern with a larger reach than it seems.
_ID = re.compile(r"[A-Za-z0-9_.:@|-]{1,128}")


@dataclass(frozen=True, slots=True)
class Scope:
    """The runs of a user, of a graph, or one run; `*` stands for every one.

    Raises:
        ValueError: an argument is neither an id nor `*`.
    """

    user_id: str
    graph_id: str = EVERY
    graph_exec_id: str = EVERY

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value != EVERY and not _ID.fullmatch(value):
                raise ValueError(f"{name} is {value!r}, but must be an id, or * for every one.")

    @property
    def is_pattern(self) -> bool:
        """Return whether the subscription needs a pattern."""
        return EVERY in (self.user_id, self.graph_id, self.graph_exec_id)
