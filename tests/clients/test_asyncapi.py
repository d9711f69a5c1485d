"""`docs/asyncapi.json`: the official parser takes it, and finds all messages in it."""

import json
from pathlib import Path

import pytest

from docs.generate import DOCS
from execstream.cli.schema import CONTRACTS
from execstream.streams.topics import TOPICS
from tests.clients.program import PATIENCE, run
from tests.fetching import program as fetched

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(2 * PATIENCE)]

PARSER = {"@asyncapi/parser": "3.6.6"}
# Severities: 0 is an error, 1 a warning.
PARSE = """
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "node:fs";
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify({
  complaints: diagnostics.filter((one) => one.severity < 2).map((one) => one.message),
  addresses: document?.channels().all().map((one) => one.address()),
  messages: document?.allMessages().all().map((one) => one.id()),
}));
"""


async def test_the_official_parser_takes_it(tmp_path: Path) -> None:
    """Without a warning; and it complains of a channel that leads nowhere."""
    (tmp_path / "package.json").write_text(json.dumps({"dependencies": PARSER}))
    (tmp_path / "parse.mjs").write_text(PARSE)
    await run(tmp_path, fetched("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts")
    file = DOCS / "asyncapi.json"
    (tmp_path / "broken.json").write_text(
        file.read_text().replace("#/components/messages/reply", "#/components/messages/none")
    )
    node = fetched("node")
    found = json.loads(await run(tmp_path, node, "parse.mjs", file))
    broken = json.loads(await run(tmp_path, node, "parse.mjs", "broken.json"))

    assert found["complaints"] == []
    assert {*found["addresses"]} >= {topic.name for topic in TOPICS}
    assert {*found["messages"]} == {*CONTRACTS, "dead-letter", "webhook", "webhook-run"}
    assert broken["complaints"] != []
