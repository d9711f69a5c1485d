"""`execstream config`: the settings, and where to change them."""

from cyclopts import App

from execstream.cli.common import Json, print_json, report_unknown_variables, table
from execstream.cli.terminal import err, out
from execstream.config.settings import Settings, load_settings, read_settings, variable
from execstream.streams.errors import NotConfigured

config = App(name="config", help="The settings, read from the environment.")


@config.command
def show(*, json: Json = False) -> None:
    """Show every setting by its variable; of addresses, only parts without a password."""
    report_unknown_variables()
    try:
        settings = load_settings()
    except NotConfigured as missing:
        settings = read_settings()
        err.print(str(missing), soft_wrap=True)
    if json:
        print_json(settings.shown())
        return
    meanings = {variable(name): field for name, field in Settings.model_fields.items()}
    rows = table("variable", "value", "meaning", free=("meaning",))
    for name, value in settings.shown().items():
        shown = "" if value is None else str(value)
        rows.add_row(name, shown, meanings[name].description)
    out.print(rows)
