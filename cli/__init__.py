"""The `execstream` program: one file per group of commands, imported when it is used.

Exit codes: 0 success, 1 failure with a sentence on stderr, 2 a wrong command line, 130 Ctrl-C. Of
`demo` the receipt decides; a `worker` that ends in good order ends with 0 always.
"""

import asyncio
import sys

from cyclopts import App, CycloptsError

from execstream.streams.errors import ExecstreamError

# Whoever types a command gets a sentence about a server that does not do its part.
_CLIENT_LIBRARIES = ("aiokafka", "asyncpg", "redis")
_HINTS = {"UndefinedTableError": ". Run `execstream migrate` first."}


def _sentence(error: CycloptsError) -> str:
    return str(error)


app = App(
    name="execstream",
    help="Commands of agent graphs in, exact state out.",
    version_flags=["--version"],
    error_formatter=_sentence,
)
app.register_install_completion_command()

# Help is told here, so that `execstream --help` need not import everything.
for _place, _help in {
    "up": "Run everything on this machine until Ctrl-C.",
    "demo": "Watch real agent graphs run, and get a receipt.",
    "worker": "Run the agents of one role, or of all.",
    "serve": "The page, the API and the live feed, over HTTP.",
    "topics": "The Kafka topics: apply, check, list.",
    "migrate": "Bring the schema in Postgres to this version.",
    "emit": "Send commands from a file or a pipe.",
    "simulate": "Make the commands of simulated runs.",
    "listen": "Print what happens, as it happens.",
    "show": "Show one run with its steps.",
    "diff": "What changed in a run between two moments.",
    "explain": "The story of a run, or of one command, in sentences.",
    "replay": "Rebuild everything from the log, with proof, and swap it in.",
    "watch": "How everything fares, live.",
    "stats": "Figures over all runs: blocks.",
    "alerts": "Blocks that fail and runs that are stuck: list, acknowledge, silence.",
    "dlq": "Dead letters: list, show, redrive.",
    "export": "Take what is known of runs out into a file.",
    "rules": "The rules: test changed ones.",
    "verify": "Check that what is stored and published follows from the journal.",
    "offsets": "Where consumers are in their topics: show, rebase, skip.",
    "retention": "Let go of the journal and the steps of days long ago.",
    "forget": "Erase everything about a person.",
    "config": "The settings: show.",
    "doctor": "Look for what is wrong with servers, topics, tables and settings.",
}.items():
    app.command(f"execstream.cli.{_place}:{_place}", name=_place, help=_help)
app.command("execstream.cli.list:list_runs", name="list", help="List runs, newest first.")


def main() -> None:
    """Run the program with the arguments of the process."""
    try:
        app()
    except asyncio.CancelledError:
        sys.exit(0)  # by SIGTERM, while something was starting or ending
    except ExecstreamError as error:
        sys.exit(str(error))
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.startswith(_CLIENT_LIBRARIES):
            sys.exit(f"{type(error).__name__}: {error}{_HINTS.get(type(error).__name__, '')}")
        raise
