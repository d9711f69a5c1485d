"""Errors hang on two bases: waiting may cure it, or nothing will.

Expected outcomes (a refusal, a duplicate, a dead letter) are answers, not errors: see `outcomes`.
"""

import re

import msgspec

# The exceptions of msgspec for bytes that are not JSON, not UTF-8, or nested by the thousand.
NOT_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


_LONGEST_REASON = 300  # characters
# Redis repeats the arguments of a command behind these words.
_REPEATED = re.compile(r",? with args beginning with:.*", re.DOTALL)


def reason_of(error: BaseException) -> str:
    """Return why something failed, as one line for logs and probes: kind and message.

    Further lines are left out, where Postgres repeats values of rows.
    """
    message = _REPEATED.sub("", str(error)).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message}"[:_LONGEST_REASON].removesuffix(": ")


class ExecstreamError(Exception):
    """An error whose text names the fault, the offending value and the way out."""


class Transient(ExecstreamError):
    """Trying again later may work."""


class Fatal(ExecstreamError):
    """Retrying will not help; an operator or a sender has to change something."""


class NotConfigured(Fatal):
    """A setting is missing or wrong."""


class Unreachable(Transient):
    """A server does not answer."""


class NotDelivered(Transient):
    """Kafka did not confirm in time that it has a record; it may still arrive there."""

    def __init__(self, timeout: float, command_id: str | None = None) -> None:
        what = "the record" if command_id is None else f"command {command_id}"
        again = "" if command_id is None else " Send it again with the same id: it counts once."
        super().__init__(f"Kafka did not confirm {what} within {timeout:g} s.{again}")
        self.command_id = command_id


class OutcomeUnknown(Transient):
    """Kafka has the command, but no reply with its outcome came in time.

    It may still take effect. Sent again with the same id, it does so only once. `place`: its
    partition and offset.
    """

    def __init__(self, command_id: str, timeout: float, place: tuple[int, int]) -> None:
        super().__init__(
            f"Nothing was heard of command {command_id} for {timeout:g} s. Is a worker running? "
            "Send it again with the same id to learn its outcome."
        )
        self.command_id = command_id
        self.place = place
