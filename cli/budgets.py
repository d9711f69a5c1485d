"""`execstream budgets`: limits of the cost of runs, users and graphs."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from execstream.cli.acts import record
from execstream.cli.common import Json, opened, print_json, start, table
from execstream.cli.terminal import Table, out
from execstream.config.settings import Settings
from execstream.kafka.producer import Producer
from execstream.storage.access.audit_log import Act
from execstream.storage.alerts.stored_budgets import load_budgets
from execstream.streams.catalogue import DefineBudget, NotInCatalogue, budget_record
from execstream.streams.errors import Fatal
from execstream.streams.topics import CATALOGUE
from execstream.streams.totals.budgets import Action, Budget, Per

budgets = App(name="budgets", help="Limits of cost, which raise alerts and stop runs.")

Id = Annotated[str, Parameter(name="ID")]


class NotABudget(Fatal):
    """No worker would take it for a budget."""


@budgets.command(name="set")
async def set_(
    budget_id: Id,
    /,
    *,
    per: Per,
    cost: Annotated[int, Parameter(validator=Number(gte=1, lte=2**53))],
    terminate: Annotated[bool, Parameter(negative="")] = False,
    graph: str | None = None,
    user: str | None = None,
    json: Json = False,
) -> None:
    """Define a budget, or change it.

    Parameters
    ----------
    per
        Limits the cost of each run, of each user on a day of UTC, or of each graph on such a day.
    cost
        The limit in cents.
    terminate
        Terminate runs once it is used up.
    graph
        Only runs of this graph, or only this graph.
    user
        Only runs of this user, or only this user.
    """
    action = Action.TERMINATE if terminate else Action.ALERT
    await _send(
        start(),
        budget_id,
        DefineBudget(
            budget_id=budget_id, per=per, cost=cost, action=action, graph_id=graph, user_id=user
        ),
    )
    defined = Budget(budget_id, per, cost, action, graph, user)
    if json:
        print_json(defined._asdict())
    else:
        out.print(_table([defined]))


@budgets.command
async def remove(budget_id: Id, /, *, json: Json = False) -> None:
    """Remove a budget. Alerts of it are closed."""
    await _send(start(), budget_id, None)
    if json:
        print_json({"id": budget_id})


@budgets.command(name="list")
async def list_(*, json: Json = False) -> None:
    """List the budgets."""
    settings = start()
    async with opened(settings) as db, db.acquire() as connection:
        _, found = await load_budgets(connection)
    if json:
        for budget in found:
            print_json(budget._asdict())
    else:
        out.print(_table(found))


def _table(found: Sequence[Budget]) -> Table:
    rows = table("id", "per", "cents", "action", "graph", "user")
    for budget in found:
        whose = (budget.graph_id or "-", budget.user_id or "-")
        rows.add_row(budget.id, budget.per, f"{budget.cost:,}", budget.action, *whose)
    return rows


async def _send(settings: Settings, budget_id: str, definition: DefineBudget | None) -> None:
    """Put the definition on the catalogue topic, None to remove it."""
    try:
        key, value = budget_record(budget_id, definition)
    except NotInCatalogue as error:
        raise NotABudget(f"{error}.") from error
    producer = Producer(settings.kafka, settings.topic_prefix + CATALOGUE.name)
    await producer.start()
    try:
        await producer.send(key, value)
    finally:
        await producer.close()
    act = "budget.remove" if definition is None else "budget.define"
    await record(settings, Act(act, budget_id, "sent"))
