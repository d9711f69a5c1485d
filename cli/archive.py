"""`execstream archive`: keep the topics that a replay needs beyond their retention."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from msgspec import structs

from execstream.cli.acts import record_where_possible
from execstream.cli.common import Json, print_json, start, table
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import err, out
from execstream.config.process_lifetime import stop_signals
from execstream.recovery.archive.archiving import Archived, archiver
from execstream.recovery.archive.folder import Archive, NoArchive
from execstream.recovery.archive.restore import restore_catalogue
from execstream.recovery.archive.segments import Facts, read_facts
from execstream.storage.access.audit_log import Act
from execstream.streams.topics import CATALOGUE

archive = App(
    name="archive",
    help="Keep commands and catalogue beyond the retention of their topics, in a folder.",
)

Folder = Annotated[Path, Parameter(help="The folder of the archive.")]


@archive.default
async def write(
    *,
    to: Annotated[Path, Parameter(name="--to")],
    follow: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Archive everything that is on the topics and not in the folder yet.

    Ctrl-C writes the records that were read, and ends. The same command continues there, also after
    a kill.

    Parameters
    ----------
    to
        The folder; it is made. One process at a time writes to it.
    follow
        Go on until Ctrl-C or SIGTERM: each command is in the folder a minute later.
    """
    settings = start()
    stop = stop_signals()

    def on_segment(facts: Facts) -> None:
        if json and follow:
            print_json(_item(facts))

    async with archiver(settings, to, on_segment) as running:
        for note in running.notes:
            err.print(note, soft_wrap=True)
        with counted(quiet=json or follow) as report_progress:
            await running.run(report_progress, follow=follow, stop=stop)
        archived = running.archived
    outcome = f"{archived.records} records"
    await record_where_possible(settings, Act("archive.write", str(to), outcome))
    if json and not follow:
        print_json({"folder": str(to), **vars(archived)})
    elif not json:
        out.print(_sentence(archived, to), soft_wrap=True)
    return stop.result() if stop.done() else 0


@archive.command
def show(folder: Folder, /, *, json: Json = False) -> None:
    """List the segments of an archive, by topic, partition and position.

    Their contents are not read: `execstream verify --archive` does.
    """
    found = Archive(folder)
    names = found.topics()
    if not names:
        raise NoArchive(f"There is no archive in {folder}.")
    rows = table("topic", "partition", "begin", "end", "segments")
    for topic in names:
        for number, part in found.partitions(topic).items():
            for segment in part.segments if json else ():
                print_json(_item(read_facts(segment.path)))
            figures = (number, part.begin, part.end, len(part.segments))
            rows.add_row(topic, *(f"{figure:,}" for figure in figures))
    if not json:
        out.print(rows)


@archive.command
async def restore(folder: Folder, /, *, json: Json = False) -> None:
    """Put the archived catalogue on its topic, after that was lost and made again.

    Commands are not put back: `execstream replay --from-archive` reads them in the folder.
    """
    settings = start()
    topic = settings.topic_prefix + CATALOGUE.name
    count = await restore_catalogue(Archive(folder), settings.kafka, topic)
    outcome = f"{count} records"
    await record_where_possible(settings, Act("archive.restore", topic, outcome))
    if json:
        print_json({"topic": topic, "restored": count})
    else:
        out.print(f"{count:,} records put on {topic}.")


def _item(facts: Facts) -> dict[str, Any]:
    return structs.asdict(facts.identity) | {
        "partition": facts.partition,
        "begin": facts.begin,
        "end": facts.end,
        "count": facts.count,
        "bytes": facts.bytes,
    }


def _sentence(archived: Archived, folder: Path) -> str:
    return (
        f"{archived.records:,} records archived in {archived.segments:,} segments of "
        f"{archived.bytes:,} bytes in {folder}."
    )
