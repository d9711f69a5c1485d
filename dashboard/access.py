"""Authentication of callers, and the runs that they may see.

Without tokens each client of the port sees everything. The server is bound to loopback then; it
answers only to loopback's names, so that no web page can reach it under a name of its own, and no
proxy, since that asks for others. With tokens each request shows one; a token bound to a user sees
nothing of others, and for it others do not exist.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hmac import compare_digest
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from execstream.config.settings import is_loopback
from execstream.dashboard.problems import ProblemError, not_found
from execstream.dashboard.quotas import Caller
from execstream.dashboard.services import Services, services

# Headers of proxies, of which each adds at least one as it is delivered.
_FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")

_bearer = HTTPBearer(auto_error=False, description="EXECSTREAM_HTTP_TOKEN, when it is set.")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that admits requests; bound to a user, it shows only runs of that user."""

    secret: str = field(repr=False)
    user_id: str | None = None


def parse_tokens(text: str) -> tuple[Token, ...]:
    """The tokens of a text with commas between them, each `SECRET` or `SECRET=USER_ID`."""
    parts = (part.partition("=") for part in text.split(",") if part)
    return tuple(Token(secret, user_id or None) for secret, _, user_id in parts)


@dataclass(frozen=True, slots=True)
class Viewer:
    """The owner of the visible runs, None for all owners; and the caller's quotas."""

    user_id: str | None
    caller: Caller

    def restrict_to_own(self, user_id: str | None) -> str | None:
        """The user to ask for when `user_id` is asked for."""
        if self.user_id is None or user_id in (None, self.user_id):
            return user_id if self.user_id is None else self.user_id
        raise not_found(f"user {user_id}")


def _viewer(
    request: Request,
    shown: Annotated[object, Depends(_bearer)],
    served: Annotated[Services, Depends(services)],
) -> Viewer:
    tokens = parse_tokens(served.settings.http_token or "")
    if not tokens:
        _check_local(request)
        return _counted(Viewer(None, _caller(request, served, None)))
    secret = getattr(shown, "credentials", "")
    for token in tokens:
        if _matches(token, secret):
            return _counted(Viewer(token.user_id, _caller(request, served, token.secret)))
    raise ProblemError(
        HTTPStatus.UNAUTHORIZED,
        "Send the server's token: Authorization: Bearer ….",
        {"WWW-Authenticate": "Bearer"},
    )


def _caller(request: Request, served: Services, token: str | None) -> Caller:
    return Caller(served.quotas.of(token), request.state.connection)


def _matches(token: Token, secret: str) -> bool:
    return compare_digest(token.secret.encode(), secret.encode())


def _counted(viewer: Viewer) -> Viewer:
    viewer.caller.use()
    return viewer


def _check_local(request: Request) -> None:
    """Reject callers through a proxy: one on this machine connects from loopback for remote
    callers.
    """
    is_forwarded = any(name in request.headers for name in _FORWARDED)
    if is_forwarded or not is_loopback(request.url.hostname or ""):
        raise ProblemError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "Without a token this server answers to localhost only, and not through a proxy: set "
            "EXECSTREAM_HTTP_TOKEN.",
        )


CurrentViewer = Annotated[Viewer, Depends(_viewer)]


async def _hold_large(viewer: CurrentViewer) -> AsyncIterator[None]:
    async with viewer.caller.large():
        yield


Large = Depends(_hold_large)
"""For routes whose answer may be of any size. Held until the answer is sent."""


def _sees_everything(viewer: CurrentViewer) -> None:
    if viewer.user_id is not None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "There is nothing here.")


Operator = Depends(_sees_everything)
"""For routes that tell of everybody's runs together."""


async def _hold_public(
    request: Request, served: Annotated[Services, Depends(services)]
) -> AsyncIterator[None]:
    caller = _caller(request, served, None)
    caller.use()
    async with caller.large():
        yield


Public = Depends(_hold_public)
"""For routes without a token, which share one quota."""
