"""`execstream replay BUNDLE`: the runs of a bundle, to be read without their topics."""

from pathlib import Path

from execstream.cli.common import print_json, start
from execstream.cli.terminal import out
from execstream.config.settings import variable
from execstream.recovery.bundles.bundles import replay_bundle


async def replay_file(bundle: Path, schema: str, *, json: bool) -> int:
    """Fold the bundle's journal into a fresh schema, and print how to look at it."""
    runs = await replay_bundle(start(), bundle, schema)
    if json:
        print_json({"schema": schema, "runs": runs})
    else:
        out.print(f"{runs:,} runs are in the schema {schema}.")
        look = f"{variable('schema_')}={schema} execstream list"
        out.print(f"Look at them with `{look}`, and `show` likewise.", soft_wrap=True)
    return 0
