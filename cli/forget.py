"""`execstream forget`: erase everything about a person."""

import sys
from typing import Annotated

from cyclopts import Parameter

from execstream.cli.acts import record
from execstream.cli.common import Json, opened, print_json, start
from execstream.cli.progress_bar import counted
from execstream.cli.terminal import err, out
from execstream.kafka.producer import Producer
from execstream.recovery.forget.forget import Receipt
from execstream.recovery.forget.forget import forget as forget_user
from execstream.recovery.forget.personal_data import Personal, count_personal
from execstream.storage.access.audit_log import Act
from execstream.storage.log.archive_positions import archived_to
from execstream.streams.topics import COMMANDS

Flag = Annotated[bool, Parameter(negative="")]


async def forget(*, user: str, dry_run: Flag = False, yes: Flag = False, json: Json = False) -> int:
    """Erase a person's runs with all they hold, key-values, refusals, dead letters and costs. This
    cannot be undone.

    Parameters
    ----------
    user
        The user's id.
    dry_run
        Only print the number of rows.
    yes
        Do not ask.
    """
    settings = start()
    async with opened(settings) as db:
        found = await count_personal(db, user)
        if dry_run:
            _print_found(user, found, json=json)
            return 0
        if not yes and not _is_sure(user, found):
            return 1
        topic = settings.topic_prefix + COMMANDS.name
        producer = Producer(settings.kafka, topic)
        await producer.start()
        try:
            with counted() as report_progress:
                receipt = await forget_user(db, producer, topic, user, report_progress)
        finally:
            await producer.close()
        archives = {one.folder for one in await archived_to(db)}
    # The user is in no table any more, so not in this one either.
    await record(settings, Act("forget", "a user", f"{receipt.erased} runs erased"))
    _report(receipt, json=json)
    for folder in archives:
        err.print(f"The archive in {folder} keeps the commands of {user}.", soft_wrap=True)
    return 1 if receipt.not_erased else 0


def _is_sure(user: str, found: Personal) -> bool:
    _print_found(user, found, json=False)
    if not sys.stdin.isatty():
        err.print("Nothing was erased: pass --yes where there is no terminal to confirm at.")
        return False
    err.print("Type the user's id to erase all of this for good: ", end="")
    return input() == user


def _print_found(user: str, found: Personal, *, json: bool) -> None:
    if json:
        print_json({"user": user, **found._asdict()})
        return
    out.print(
        f"{user} has {found.runs:,} runs ({found.erased:,} of them erased already), "
        f"{found.key_values:,} key-values, {found.refusals:,} refusals, "
        f"{found.dead_letters:,} dead letters and costs of {found.user_days:,} days.",
        markup=False,
    )


def _report(receipt: Receipt, *, json: bool) -> None:
    if json:
        print_json(receipt._asdict())
        return
    out.print(f"Erased {receipt.erased:,} runs.")
    for name, count in receipt.deleted.items():
        out.print(f"Deleted {count:,} {name.replace('_', ' ')}.")
    out.print(
        f"Left are {receipt.rows_left:,} rows of runs, deleted and empty: ids, graph, status and "
        "times. Without them a command that comes late would bring the run back."
    )
    for topic, until in receipt.topics_until.items():
        out.print(f"Kafka keeps its records of {topic} until {until:%Y-%m-%d} at the latest.")
    for run_id, reason in receipt.not_erased.items():
        err.print(f"Run {run_id} was not erased: {reason}.")
