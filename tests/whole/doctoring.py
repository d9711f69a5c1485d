"""The complaints of `execstream doctor`."""

from urllib.parse import urlsplit

from execstream.cli.diagnosis import Finding, State, examine
from execstream.config.settings import Settings
from tests.worker import Installation

SECRET = "of-this-test"  # noqa: S105


def settings_of(place: Installation) -> Settings:
    return place.settings_with(replication_factor=1)


async def complaints(settings: Settings, part: str = "") -> list[Finding]:
    """The failed checks, in one part or in all; each must have a remedy."""
    found = [
        finding
        async for finding in examine(settings)
        if finding.state is not State.OK and part in (finding.part, "")
    ]
    assert all(finding.remedy for finding in found)
    return found


async def complaint(settings: Settings, part: str) -> Finding:
    """The only one about a part."""
    (found,) = await complaints(settings, part)
    return found


def with_user(address: str, user: str, password: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}").geturl()
