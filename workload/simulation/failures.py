"""Errors of failing steps, as providers and blocks word them.

Few families with numbers, ids and addresses as variable parts: fingerprints group them, as they do
those of real runs.
"""

from execstream.workload.simulation.draws import Draws

# Of 10 failures of a step, by the type of its block.
_OF_MODELS = (
    *("rate_limit",) * 4,
    *("timeout",) * 2,
    *("provider",) * 2,
    "credentials",
    "validation",
)
_OF_OTHERS = (
    *("validation",) * 4,
    *("timeout",) * 2,
    *("provider",) * 2,
    "credentials",
    "rate_limit",
)
_WORDING = {
    "rate_limit": "RateLimitError: Error code: 429 - Rate limit reached on tokens per min: "
    "Limit 30000, Requested {number}. Please try again in {number} ms.",
    "credentials": "401 Client Error: Unauthorized for url: https://api.example.com/v1/{number}",
    "timeout": "TimeoutError: Read timed out after {number} ms",
    "provider": "503 Server Error: Service Unavailable for url: "
    "https://api.example.com/v1/{number}",
    "validation": "ValidationError: field 'item {number}' is required",
}


def step_error(draws: Draws, block_type: str) -> str:
    """Return the error of a failing step of a block of this type."""
    families = _OF_MODELS if block_type == "AI" else _OF_OTHERS
    number, family = divmod(draws.integer(10_000, 899_999), len(families))
    return _WORDING[families[family]].format(number=number)
