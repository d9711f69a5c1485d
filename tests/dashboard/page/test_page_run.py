"""One run, in a real browser: it moves while one looks, and may be moved from there."""

import json

import pytest

from execstream.dashboard.server import Server
from execstream.dashboard.streamed.values import SNAPSHOT_VALUE
from execstream.streams.statuses import ALLOWED_FROM, ExecutionStatus
from tests.dashboard.page.browser import Tab
from tests.orders import Order, Orders
from tests.worker import Installation

pytestmark = pytest.mark.browser

STATUS = "document.querySelector('.run-head .pill').innerText"
LIVE = "document.querySelector('.line')?.dataset.state === 'live'"
STEPS = "[...document.querySelectorAll('.step .pill')].map(pill => pill.innerText).join()"
BUTTONS = "[...document.querySelectorAll('.actions button')].map(button => button.innerText)"

# Texts that would be markup, or a script, if they were ever taken for it.
CORPUS = (
    "<script>hit()</script>",
    "<img src=x onerror=hit()>",
    '"><svg onload=hit()>',
    "</pre><iframe srcdoc='<script>parent.hit()</script>'>",
    "javascript:hit()",
    "{{constructor.constructor('hit()')()}}",
    "<style>*{display:none}</style>",
    "&lt;b&gt;&#x3c;script>hit()&#x3c;/script>",
)


async def _given(place: Installation, *orders: Order) -> None:
    await place.put(orders)
    await place.drained()


async def _open(tab: Tab, server: Server, run: Orders, rest: str = "") -> None:
    await tab.open(f"{server.url}/#/runs/{run.run_id}{rest}")
    await tab.sees(LIVE)


async def _open_without_feed(tab: Tab, url: str) -> None:
    """Open a page with a feed that begins with `go()`."""
    script = """const asked = fetch; window.begin = new Promise(go => (window.go = go));
        fetch = (...of) => String(of[0]).includes('/v1/stream')
            ? begin.then(() => asked(...of)) : asked(...of);"""
    added = await tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    await tab.open(url)
    await tab.sees("typeof go === 'function'")
    await tab.call("Page.removeScriptToEvaluateOnNewDocument", **added)


async def test_follows_a_run_to_its_end(tab: Tab, server: Server, place: Installation) -> None:
    """Head, steps, graph and outputs move from QUEUED to COMPLETED without a reload."""
    await place.db.execute(
        "insert into block values ('talk', 'AITextGeneratorBlock', 'AI'),"
        " ('out', 'AgentOutputBlock', 'OUTPUT') on conflict do nothing"
    )
    run = Orders()
    await _given(place, run.create(run.node("talk", block_id="talk")), run.move("QUEUED"))
    await _open(tab, server, run)
    await tab.sees(f"{STATUS} === 'Queued' && {STEPS} === 'Queued'")

    await place.put([run.start(), run.move_step("talk", "RUNNING")])
    await tab.sees(f"{STATUS} === 'Running' && {STEPS} === 'Running'")

    given = {"name": "answer", "value": "forty-two"}
    await place.put([run.emit("talk", data="forty-two"), run.move_step("talk", "COMPLETED")])
    await place.put([run.give("end", pin, value, block_id="out") for pin, value in given.items()])
    await place.put([run.move_step("end", "QUEUED", execution_data=given)])
    await tab.sees(f"{STEPS} === 'Completed,Queued'")
    await tab.sees("document.querySelectorAll('.graph .node').length === 2")
    await tab.sees("document.querySelectorAll('.graph path').length === 1")
    await tab.shows("AI Text Generator")

    await place.put([run.move_step("end", "RUNNING"), run.move_step("end", "COMPLETED")])
    await place.put([run.move("COMPLETED", stats={"cost": 125, "node_count": 2})])
    await tab.sees(f"{STATUS} === 'Completed' && {STEPS} === 'Completed,Completed'")
    await tab.sees("document.querySelector('[aria-label=Outputs]').innerText.includes('forty-two')")
    await tab.shows("$1.25")
    await tab.screenshot("run-followed")


async def test_goes_on_where_the_line_broke(tab: Tab, server: Server, place: Installation) -> None:
    """Changes while the browser is cut off are there when it is back, without a reload."""
    run = Orders()
    await _given(place, run.create(run.node("a")), run.start())
    await _open(tab, server, run)
    await tab.sees(f"{STEPS} === 'Queued'")
    await tab.go_offline(offline=True)
    await place.put([run.move_step("a", "RUNNING"), run.move_step("a", "COMPLETED")])
    await place.drained()

    await tab.go_offline(offline=False)

    await tab.sees(f"{STEPS} === 'Completed'", patience=60)
    tab.troubles = [trouble for trouble in tab.troubles if "ERR_" not in trouble]


async def test_offers_what_the_table_allows(tab: Tab, server: Server, place: Installation) -> None:
    """A run that runs can be terminated, then resumed; the page knows the table of the rules."""
    run = Orders()
    await _given(place, run.create(run.node("a")), run.start(), run.move_step("a", "RUNNING"))
    await _open(tab, server, run)
    await tab.sees(f"{BUTTONS}.join() === 'Terminate,Share,Delete'")

    await tab.click(".actions button", "Terminate")
    await tab.click("dialog button[value=yes]")

    await tab.sees(f"{STATUS} === 'Terminated' && {STEPS} === 'Failed'")
    await tab.sees(f"{BUTTONS}.join() === 'Resume,Share,Delete'")
    await tab.click(".actions button", "Resume")
    await tab.click("dialog button[value=yes]")
    await tab.sees(f"{STATUS} === 'Queued'")
    known = await tab.run("import('/lib/statuses.js').then(module => module.ALLOWED_FROM)")
    assert known == {
        str(to): [str(was) for was in ExecutionStatus if was in ALLOWED_FROM.get(to, ())]
        for to in ExecutionStatus
    }


async def test_ends_a_run_of_a_foreign_partitioner(
    tab: Tab, server: Server, place: Installation
) -> None:
    """A run on a partition that its key does not choose is shown, and can be terminated."""
    run = Orders()
    created, started = run.create(), run.start()
    elsewhere = (place.partition_of(created) + 1) % 8
    orders = (order._replace(partition=elsewhere) for order in (created, started))
    await _given(place, *orders)
    await tab.open(f"{server.url}/#/health")
    await tab.shows(" of the newest 1,000 runs are where their keys do not belong, ")
    await tab.shows("set partitioner=murmur2_random")

    await _open(tab, server, run)
    await tab.click(".actions button", "Terminate")
    await tab.click("dialog button[value=yes]")

    await tab.sees(f"{STATUS} === 'Terminated'")


async def test_shares_what_only_the_link_shows(
    tab: Tab, server: Server, place: Installation
) -> None:
    """The link shown once opens the outputs; when sharing is stopped, it opens nothing."""
    run = Orders()
    await _given(place, run.create())
    await _open(tab, server, run)

    await tab.click(".actions button", "Share")
    await tab.click("dialog button[value=yes]")

    link = await tab.sees("document.querySelector('dialog input')?.value")
    token = link.partition("shared.html#")[2]
    status = f"fetch('/v1/shared/{token}').then(answer => answer.status)"
    assert await tab.run(status) == 200
    await tab.click("dialog button", "Done")
    await tab.click(".actions button", "Stop sharing")
    await tab.click("dialog button[value=yes]")
    await tab.sees(f"{BUTTONS}.includes('Share')")
    assert await tab.run(status) == 404
    tab.troubles = [trouble for trouble in tab.troubles if "/v1/shared/" not in trouble]


async def test_tells_refusals_children_and_the_journal(
    tab: Tab, server: Server, place: Installation
) -> None:
    """Each has its tab; a refusal that comes while one looks appears."""
    run, child = Orders(), Orders()
    await _given(place, run.create(run.node("a")), child.create(parent_graph_exec_id=run.run_id))
    await _open(tab, server, run, "?tab=refusals")
    await tab.shows("Nothing was refused.")

    await place.put([run.move("COMPLETED")])

    await tab.shows("illegal_transition")
    await tab.click("[role=tab]", "Children")
    await tab.sees(f"document.querySelector('tr[data-id]')?.dataset.id === {child.run_id!r}")
    await tab.click("[role=tab]", "Journal")
    await tab.sees("document.querySelectorAll('.journal tbody tr').length === 2")
    await place.put([run.start()])
    await tab.sees("document.querySelectorAll('.journal tbody tr').length === 3")
    await tab.open(f"{server.url}/#/runs/{child.run_id}")
    await tab.sees(f"document.querySelector('.facts a[href=\"#/runs/{run.run_id}\"]')")


@pytest.mark.parametrize(
    ("part", "has"),
    [
        ("refusals", "document.body.innerText.includes('illegal_transition')"),
        ("journal", "document.querySelectorAll('.journal tbody tr').length === 2"),
        ("children", "document.querySelector('tr[data-id]')"),
    ],
)
async def test_a_part_is_no_older_than_the_feed(
    tab: Tab, server: Server, place: Installation, part: str, has: str
) -> None:
    """Changes after the part was read and before the feed begins are shown."""
    run, child = Orders(), Orders()
    await _given(place, run.create())
    await _open_without_feed(tab, f"{server.url}/#/runs/{run.run_id}?tab={part}")
    await tab.sees("document.querySelector('#tab :is(.empty, .journal tbody tr)')")

    child_of_it = child.create(parent_graph_exec_id=run.run_id)
    await _given(place, run.move("COMPLETED"), run.start(), child_of_it)
    assert not await tab.run(has)
    await tab.run("go()")

    await tab.sees(has)


async def test_a_list_is_no_older_than_the_feed(
    tab: Tab, server: Server, place: Installation
) -> None:
    """The same for the list of runs: a run that was changed meanwhile is shown as it is."""
    run = Orders()
    await _given(place, run.create())
    await _open_without_feed(tab, f"{server.url}/#/runs")
    status = f"document.querySelector('tr[data-id=\"{run.run_id}\"] .pill').innerText"
    await tab.sees(f"{status} === 'Incomplete'")

    await _given(place, run.start())
    await tab.run("go()")

    await tab.sees(f"{status} === 'Running'")


async def test_takes_any_name_and_any_number(tab: Tab, server: Server, place: Installation) -> None:
    """Pins called like members of every object are shown as they come; an output without a text as
    its name is ignored; figures of any length neither stop the page nor lose digits.
    """
    await place.db.execute(
        "insert into block values ('out', 'Out', 'OUTPUT') on conflict do nothing"
    )
    run = Orders()
    await _given(place, run.create(run.node("a")), run.start(), run.move_step("a", "RUNNING"))
    await _open(tab, server, run, f"?tab=constructor&step={run.named('a')}")
    await tab.sees(f"{STEPS} === 'Running'")

    for name in ("constructor", "__proto__", "toString"):
        await place.put([run.emit("a", name, f"{name} {number}") for number in (1, 2)])
    for name, value in (("five", 5), ("six", "toString")):
        await place.put([run.give(name, "value", f"value of {name}", block_id="out")])
        data = {"name": value, "value": f"value of {name}"}
        await place.put([run.move_step(name, "QUEUED", execution_data=data)])
    odd = {"cost": 10**20 + 1, "extra_cost": 10**20 + 1, "walltime": 0.011095900270609436}
    await place.put([run.move_step("a", "COMPLETED", stats=odd)])
    await place.put([run.move("COMPLETED", stats={"cost": 10**20 + 1, "node_error_count": 10**20})])

    await tab.sees(f"{STATUS} === 'Completed'")
    for name in ("constructor", "__proto__", "toString"):
        for number in (1, 2):
            await tab.shows(f"{name} {number}")
    await tab.shows(str(10**20 + 1))
    outputs = await tab.run("document.querySelector('[aria-label=Outputs]').innerText")
    assert "value of six" in outputs
    assert "value of five" not in outputs
    for view in ("runs?since=constructor", "blocks?sort=constructor", f"runs/{run.run_id}"):
        await tab.open(f"{server.url}/#/{view}")
        await tab.sees(LIVE)


async def test_an_element_takes_any_number_of_values(tab: Tab, server: Server) -> None:
    """More than a call takes arguments: a step may emit a hundred thousand values."""
    await tab.open(server.url)
    many = "h('div', {}, Array(200000).fill('x')).childNodes.length"
    filled = "fill(h('div'), Array(200000).fill('x')).childNodes.length"
    counted = f"import('/lib/dom.js').then(({{ h, fill }}) => {many} + {filled})"
    await tab.run(f"window.counted = null, {counted}.then((count) => (window.counted = count))")
    await tab.sees("window.counted === 400000")


async def test_shows_values_exactly_and_as_text(
    tab: Tab, server: Server, place: Installation
) -> None:
    """Long numbers keep every digit; text that looks like markup is only ever text."""
    digits = "12345678901234567890123.5"
    run = Orders()
    long = run.emit("a", "long")
    assert long.value is not None
    exact = long.value.replace(b'"output_data":1', b'"output_data":' + digits.encode())
    pins = [run.emit("a", text, {text: text}) for text in CORPUS]
    graph = f"graph-{run.run_id}"
    name = "".join(CORPUS)
    await place.db.execute("insert into graph values ($1, 1, $2, null)", graph, name)
    await _given(
        place,
        run.create(run.node("a"), graph_id=graph, inputs={text: text for text in CORPUS}),
        run.start(),
        run.move_step("a", "RUNNING"),
        *pins,
        long._replace(value=exact),
        run.move_step("a", "FAILED", stats={"error": name}),
        run.move("FAILED", stats={"error": name}),
    )
    await _open(tab, server, run)
    await tab.run("window.hits = 0, window.hit = () => { window.hits += 1 }")
    await tab.click(".step")
    await tab.shows(digits)

    for view in ("Journal", "Overview"):
        await tab.click("[role=tab]", view)
    text = await tab.run("document.body.textContent")
    assert all(one in text for one in CORPUS)
    assert json.dumps({CORPUS[0]: CORPUS[0]})[1:-1] in text
    assert await tab.run("document.querySelector('h1').textContent") == name
    strange = "main :is(script, img, iframe, style, svg[onload], b, [href^=javascript])"
    assert await tab.run(f"document.querySelectorAll({strange!r}).length") == 0
    assert await tab.run("window.hits") == 0


async def test_loads_large_values_when_asked(tab: Tab, server: Server, place: Installation) -> None:
    """Values that the snapshot leaves out are buttons: of the run, and of its steps' pins,
    documents and outputs.
    """
    await place.db.execute(
        "insert into block values ('large-out', 'AgentOutputBlock', 'OUTPUT')"
        " on conflict do nothing"
    )
    run = Orders()
    filler = "x" * SNAPSHOT_VALUE
    await _given(
        place,
        run.create(
            run.node("a", inputs={"in": f"of-a-pin {filler}"}),
            run.node("end", block_id="large-out"),
            inputs={"text": f"of-the-run {filler}"},
        ),
        run.start(),
        run.move_step("a", "RUNNING"),
        run.emit("a", data="small"),
        run.emit("a", data=f"of-an-output {filler}"),
        run.move_step(
            "end", "RUNNING", execution_data={"name": "answer", "value": f"of-a-document {filler}"}
        ),
    )
    await _open(tab, server, run)
    await tab.click("[aria-label=Inputs] .left-out button", "Load")
    await tab.shows("of-the-run xxx")
    await tab.click("[aria-label=Outputs] .left-out button", "Load")
    await tab.shows("of-a-document xxx")

    await tab.click(".step:nth-of-type(1)")
    await tab.shows("small")
    await tab.screenshot("left-out")
    await tab.click(".drawer .left-out button", "Load")
    await tab.shows("of-a-pin xxx")
    await tab.click(".drawer .left-out button", "Load")
    await tab.shows("of-an-output xxx")
