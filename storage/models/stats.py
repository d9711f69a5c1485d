"""Stats of runs and steps: time, steps, tokens and money, in the names they are stored under.

Producers may add fields of their own, which are kept. Times are seconds, costs are cents.
"""

from typing import Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_serializer


class Stats(BaseModel):
    """The fields common to stats of runs and of steps."""

    # JSON has no infinite numbers.
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True, allow_inf_nan=False)

    error: BaseException | str | None = None
    walltime: float = 0
    cputime: float = 0
    cost: int = 0

    @field_serializer("error")
    def _error_as_text(self, error: BaseException | str | None) -> str | None:
        return error_text(error)


class GraphExecutionStats(Stats):
    """Stats of a run as stored. Readers get them as `GraphExecutionMeta.Stats`."""

    nodes_walltime: float = 0
    nodes_cputime: float = 0
    node_count: int = 0
    node_error_count: int = 0
    activity_status: str | None = None
    correctness_score: float | None = None  # 0 to 1
    is_dry_run: bool = False


class NodeExecutionStats(Stats):
    """Stats of a step. Sizes are characters of JSON."""

    input_size: int = 0
    output_size: int = 0
    llm_call_count: int = 0
    llm_retry_count: int = 0
    input_token_count: int = 0
    output_token_count: int = 0
    cache_read_token_count: int = 0
    cache_creation_token_count: int = 0
    extra_cost: int = 0
    extra_steps: int = 0
    reconciled_cost_delta: int = 0  # may be negative
    provider_cost: float | None = None
    provider_cost_type: (
        Literal[
            "cost_usd",
            "tokens",
            "characters",
            "sandbox_seconds",
            "walltime_seconds",
            "per_run",
            "items",
        ]
        | None
    ) = None
    # Pins with values that moderation removed, and the messages to show instead.
    cleared_inputs: dict[str, list[str]] | None = None
    cleared_outputs: dict[str, list[str]] | None = None

    def __iadd__(self, other: "NodeExecutionStats") -> Self:
        """Numbers add up, dicts and lists grow, all else is overwritten, though never by None."""
        for name, value in other:
            if value is not None:
                setattr(self, name, _merged(getattr(self, name, None), value))
        return self


def error_text(error: BaseException | str | None) -> str | None:
    """The error as text; an exception without a message is named by its class."""
    if isinstance(error, BaseException):
        return str(error) or type(error).__name__
    return error


AnyStats = TypeVar("AnyStats", bound=Stats)


def stats_from_db(model: type[AnyStats], document: object, **place: object) -> AnyStats | None:
    """The stored document as `model`; None, and a warning that names the place, if it is not one.

    Commands may carry any JSON object as stats, and one odd document must not hide its run.
    """
    if document is None:
        return None
    try:
        return model.model_validate(document)
    except ValidationError as invalid:
        fields = [".".join(map(str, error["loc"])) for error in invalid.errors()]
        import structlog  # noqa: PLC0415 - it imports rich, for a warning that is rare

        log = structlog.get_logger(__name__)
        log.warning("stats.invalid", fields=fields, **place)
        return None


def _merged(mine: object, theirs: object) -> object:
    if isinstance(theirs, bool) or type(mine) is bool:
        return theirs
    if isinstance(mine, int | float) and isinstance(theirs, int | float):
        return mine + theirs
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine | theirs
    if isinstance(mine, list) and isinstance(theirs, list):
        return mine + theirs
    return theirs
