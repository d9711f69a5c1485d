"""Explore the model, and show what happens without each guard: `python -m tests.model`."""

import sys

from rich.console import Console

from tests.model.guards import GUARDS, WHOLE, explore_reading, found, table

console = Console(soft_wrap=True, highlight=False, markup=False)


def main() -> int:
    """Print the explorations, the counterexamples and the table; 1 when an invariant fails."""
    failed = 0
    for scope in (None, *WHOLE):
        explored = scope.explore() if scope else explore_reading()
        failed += explored.violation is not None
        about = scope._asdict() if scope else "reading"
        console.print(f"{about}: {explored.states:,} states, {explored.steps:,} steps")
        console.print(f"  violated: {explored.violation}")
    for guard in GUARDS:
        violation = found(guard).violation
        failed += violation is None
        console.print(f"{guard.name}: {violation and (violation.invariant, *violation.trace)}")
    for row in table():
        console.print(row)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
