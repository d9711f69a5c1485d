"""`execstream doctor`: faults of the surroundings, and their remedies."""

from collections import Counter

from execstream.cli.common import Json, print_json, report_unknown_variables, table
from execstream.cli.diagnosis import Finding, State, examine
from execstream.cli.terminal import Text, err, out
from execstream.config.logs import configure_logging
from execstream.config.settings import load_settings

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}


async def doctor(*, json: Json = False) -> int:
    """Check servers, versions, topics, migrations, rights, clocks, disk and settings.

    Changes nothing. Exit code 1 when a check failed; warnings leave it at 0.
    """
    settings = load_settings()
    report_unknown_variables()
    configure_logging(settings)
    findings = []
    async for finding in examine(settings):
        findings.append(finding)
        if json:
            print_json(finding)
    if not json:
        _show(findings)
    return 1 if any(finding.state is State.FAILED for finding in findings) else 0


def _show(findings: list[Finding]) -> None:
    rows = table("part", "check", "", "found")
    for finding in findings:
        state = Text(finding.state, _COLOURS[finding.state])
        rows.add_row(finding.part, finding.check, state, finding.found)
    out.print(rows)
    for finding in findings:
        if finding.remedy is not None:
            line = f"{finding.part} {finding.check}: {finding.found}. {finding.remedy}"
            err.print(line, style=_COLOURS[finding.state], soft_wrap=True)
    count = Counter(finding.state for finding in findings)
    err.print(f"{count[State.FAILED]} failed, {count[State.WARNING]} warnings.")
