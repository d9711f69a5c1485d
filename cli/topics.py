"""`execstream topics`: list the topics, and bring those of the broker to their settings."""

from cyclopts import App
from msgspec.structs import asdict

from execstream.cli.acts import record_where_possible
from execstream.cli.archive_complaints import complaints_of
from execstream.cli.common import Json, print_json, start, table
from execstream.cli.terminal import err, out
from execstream.kafka.admin import Difference, apply_topics, find_differences
from execstream.storage.access.audit_log import Act
from execstream.storage.connections import AWAY
from execstream.streams.topics import TOPICS

topics = App(name="topics", help="The Kafka topics, as topics.yaml describes them.")


@topics.command(name="list")
def list_topics(*, json: Json = False) -> None:
    """List the topics, their keys, settings and meaning."""
    if json:
        for topic in TOPICS:
            print_json(asdict(topic))
        return
    rows = table("topic", "key", "partitions", "kept", "carries", free=("carries",))
    for topic in TOPICS:
        days = topic.retention_days
        kept = topic.cleanup if days is None else f"{days} d, {topic.cleanup}"
        rows.add_row(topic.name, topic.key, str(topic.partitions), kept, topic.meaning)
    out.print(rows)


@topics.command
async def apply(*, json: Json = False) -> None:
    """Create missing topics and mend their settings; refuse to change partitions."""
    settings = start()
    mended = await apply_topics(settings.kafka, settings.topic_prefix, settings.replication_factor)
    acts = (Act("topic.apply", one.topic, f"{one.what} mended") for one in mended)
    await record_where_possible(settings, *acts)
    _announce(mended, json=json, nothing="All topics are as they should be.", mended=True)


@topics.command
async def check(*, json: Json = False) -> int:
    """Compare the broker's topics with topics.yaml, and with the archive where there is one.

    Exit code 1 on any difference, and when retention has overtaken the archive or will soon.
    """
    settings = start()
    found = await find_differences(
        settings.kafka, settings.topic_prefix, settings.replication_factor
    )
    _announce(found, json=json, nothing="All topics are as they should be.", mended=False)
    complaints: list[str] = []
    if settings.postgres_dsn is not None:
        try:
            _, complaints = await complaints_of(settings)
        except AWAY as error:
            err.print(f"The archive is not compared: {error}", soft_wrap=True)
    for one in complaints:
        if json:
            print_json({"what": "archive", "found": one})
        else:
            out.print(f"archive: {one}", soft_wrap=True)
    return 1 if found or complaints else 0


def _announce(differences: list[Difference], *, json: bool, nothing: str, mended: bool) -> None:
    if json:
        for difference in differences:
            print_json(difference)
    elif not differences:
        out.print(nothing)
    for difference in [] if json else differences:
        out.print(_sentence(difference, mended=mended))


def _sentence(difference: Difference, *, mended: bool) -> str:
    topic, what = difference.topic, difference.what
    if difference.found is None and what == "topic":
        return f"{topic}  {'created' if mended else 'is missing'}"
    verb = "was" if mended else "is"
    now = "now" if mended else "should be"
    return f"{topic}  {what} {verb} {difference.found}, {now} {difference.expected}"
