"""`execstream config`: what the settings are, and where to change them."""

from cyclopts import App

from execstream.cli.common import Json, out, print_json, table
from execstream.settings import Settings, load_settings, names_servers, read_settings, variable

config = App(name="config", help="The settings, read from the environment.")


@config.command
def show(*, json: Json = False) -> None:
    """Show every setting by its variable; passwords are left out."""
    settings = read_settings()
    if not names_servers(settings):
        settings = load_settings()
    if json:
        print_json(settings.shown())
        return
    meanings = {variable(name): field for name, field in Settings.model_fields.items()}
    rows = table("variable", "value", "meaning")
    for name, value in settings.shown().items():
        shown = "" if value is None else str(value)
        rows.add_row(name, shown, meanings[name].description)
    out.print(rows)
