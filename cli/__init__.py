"""The `execstream` program: one file per group of commands, imported when it is used.

Exit codes: 0 success, 1 failure with a sentence on stderr, 2 a wrong command line, 130 Ctrl-C,
141 when its reader has gone (`| head`). Of `demo` the receipt decides;
a `worker` that ends in good order ends with 0 always.
"""

import asyncio
import inspect
import sys
import traceback
from typing import NamedTuple, NoReturn

from cyclopts import App, CycloptsError

from execstream import __version__
from execstream.cli.endings import (
    INTERRUPTED,
    end_at_once_on_interrupt,
    end_without_reader,
    raise_on_interrupt,
    reader_has_gone,
    without_reports_of_cut_connections,
)
from execstream.streams.errors import ExecstreamError
from execstream.streams.text import escape_controls

# The user of a command gets a sentence about a server that does not do its part.
_CLIENT_LIBRARIES = ("aiokafka", "asyncpg", "redis")
_HINTS = {"UndefinedTableError": ". Run `execstream migrate` first."}


def _sentence(error: CycloptsError) -> object:
    # Help and version, which import no console of ours, are quicker without.
    from execstream.cli.terminal import Block  # noqa: PLC0415

    return Block(str(error))


app = App(
    name="execstream",
    help="Commands of agent graphs in, exact state out.",
    version=__version__,
    version_flags=["--version"],
    error_formatter=_sentence,
)
app.register_install_completion_command()


class _Command(NamedTuple):
    """The help of a command, and the extra it needs."""

    help: str
    extra: str | None = None


# Listed here, so that `execstream --help` need not import everything.
_COMMANDS = {
    "up": _Command("Run everything on this machine until Ctrl-C.", "local"),
    "demo": _Command("Watch real agent graphs run, and get a receipt.", "local"),
    "worker": _Command("Run the agents of one role, or of all.", "worker"),
    "serve": _Command("The page, the API and the live feed, over HTTP.", "server"),
    "topics": _Command("The Kafka topics: apply, check, list."),
    "migrate": _Command("Bring the schema in Postgres to this version."),
    "emit": _Command("Send commands from a file or a pipe."),
    "check": _Command("Find faults of commands before they are sent."),
    "simulate": _Command("Make the commands of simulated runs."),
    "listen": _Command("Print events as they happen."),
    "list": _Command("List runs, newest first."),
    "bulk": _Command("Terminate, resume or delete many runs, after their number."),
    "show": _Command("Show one run with its steps."),
    "diff": _Command("The changes of a run between two moments."),
    "explain": _Command("The story of a run, or of one command, in sentences."),
    "trace": _Command("A run as spans of OpenTelemetry: show, print or send them."),
    "replay": _Command("Rebuild everything from the log, with proof, and swap it in.", "worker"),
    "watch": _Command("Live overview."),
    "stats": _Command("Figures over all runs: blocks."),
    "alerts": _Command(
        "Blocks that fail, runs that are stuck, budgets: list, acknowledge, silence."
    ),
    "budgets": _Command("Limits of cost: set, list, remove."),
    "dlq": _Command("Dead letters: list, show, redrive."),
    "quarantine": _Command("Records that fail each time: list, show, retry, skip."),
    "export": _Command("Export runs to a bundle file, or tables to Parquet files.", "worker"),
    "rules": _Command("The rules: test changed ones.", "worker"),
    "verify": _Command("Check that rows and events follow from the journal.", "worker"),
    "offsets": _Command("Where consumers are in their topics: show, rebase, skip."),
    "archive": _Command(
        "Keep commands and catalogue beyond the retention of their topics.", "worker"
    ),
    "retention": _Command("Drop old days of journal and steps."),
    "forget": _Command("Erase everything about a person."),
    "import": _Command("Bring the history of the original's database here."),
    "tokens": _Command("Tokens of the HTTP server: create, list, revoke."),
    "mcp": _Command("Serve runs, failures and alerts to assistants, read-only.", "mcp"),
    "audit": _Command("The acts of operators and tokens."),
    "config": _Command("The settings: show."),
    "schema": _Command("The JSON Schemas of commands, events and messages."),
    "doctor": _Command("Look for faults of servers, topics, tables and settings."),
}
# They continue after any unreadable row, log it, and export the number of them.
_SERVING = ("up", "demo", "worker", "serve")
# Names of commands that cannot be those of their functions, or modules.
_FUNCTIONS = {"list": "list:list_runs", "import": "import_history:import_history"}
for _name, _command in _COMMANDS.items():
    _function = _FUNCTIONS.get(_name, f"{_name}:{_name}")
    app.command(f"execstream.cli.{_function}", name=_name, help=_command.help)


def main() -> None:
    """Run the program with the arguments of the process."""
    end_at_once_on_interrupt()
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError as error:
        if reader_has_gone():
            end_without_reader()
        _end_with_error(error)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich's own end, as of the help
            end_without_reader()
        raise
    except asyncio.CancelledError:
        sys.exit(0)  # by SIGTERM, during a start or an end
    except Exception as error:  # noqa: BLE001 - its traceback is printed
        _end_with_error(error)
    finally:
        end_at_once_on_interrupt()


def _run() -> int:
    command, bound, _ = app.parse_args()  # which imports the command
    raise_on_interrupt()
    ended = command(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(ended):
        ended = asyncio.run(without_reports_of_cut_connections(ended))
    sys.stdout.flush()
    code = ended if isinstance(ended, int) else 0
    return code if command.__name__ in _SERVING else _tell_left_out(code)


def _tell_left_out(code: int) -> int:
    """Print which unreadable rows a command has left out; return the exit code."""
    rows = sys.modules.get("execstream.storage.unreadable_rows")  # unless nothing was read
    if rows is None or (sentence := rows.left_out()) is None:
        return code
    from execstream.cli.terminal import err  # noqa: PLC0415 - see above

    err.print(sentence, soft_wrap=True)
    return code or 1


def _end_with_error(error: Exception) -> NoReturn:
    _tell_left_out(1)  # which may be why nothing was found
    if isinstance(error, ExecstreamError):
        _end_with(str(error))
    if isinstance(error, ImportError):
        _tell_extra(error)
        raise error
    if isinstance(error, OSError) or type(error).__module__.startswith(_CLIENT_LIBRARIES):
        _end_with(f"{type(error).__name__}: {error}{_HINTS.get(type(error).__name__, '')}")
    _end_with("".join(traceback.format_exception(error)).rstrip())


def _end_with(text: str) -> NoReturn:
    """End with a text on stderr and exit code 1. Errors repeat values of strangers."""
    sys.exit(escape_controls(text, is_block=True))


def _tell_extra(error: ImportError) -> None:
    """End with a sentence if a package is missing that belongs to an extra of the command."""
    name = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    extra = _COMMANDS[name].extra if name in _COMMANDS else None
    missing = error.__cause__ or error  # cyclopts raises its own error from the original one
    package = ((isinstance(missing, ModuleNotFoundError) and missing.name) or "").split(".")[0]
    if extra and package not in ("", "execstream"):
        sys.exit(
            f"`execstream {name}` needs the extra {extra!r}: pip install 'execstream[{extra}]'"
        )
