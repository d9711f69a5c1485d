"""Authentication of callers, their scopes, and the runs that they may see.

Where tokens are required, each request shows one; a token bound to a user sees nothing of others,
and for it others do not exist. Elsewhere each client of the port sees everything: the server is
bound to loopback then, and answers only to loopback's names, so that no web page can reach it under
a name of its own, and no proxy, since that asks for others.

Each route names one access below, which decides alone about its answer.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.routing import BaseRoute

from execstream.config.settings import is_loopback
from execstream.dashboard.problems import ProblemError, not_found
from execstream.dashboard.quotas import Caller
from execstream.dashboard.services import Services, services
from execstream.storage.access.http_tokens import HttpToken, TokenScope
from execstream.streams.errors import Fatal

# Headers of proxies, of which each adds at least one as it is delivered.
_FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
_LOCAL = HttpToken("none")  # of requests that need no token

_bearer = HTTPBearer(
    auto_error=False, description="A token of `execstream tokens create`, or of the settings."
)


@dataclass(frozen=True, slots=True)
class Viewer:
    """The rights of a request, the caller's quotas, and the address it came from."""

    token: HttpToken
    caller: Caller
    origin: str

    @property
    def user_id(self) -> str | None:
        """The owner of the visible runs, None for all owners: each filter by owner has it from
        here.
        """
        return self.token.user_id

    @property
    def bound_to(self) -> str | None:
        """The user of the token, None for all; with strict tenancy Postgres is read as this one."""
        return self.token.user_id

    def restrict_to_own(self, user_id: str | None) -> str | None:
        """The user to ask for when `user_id` is asked for."""
        if self.user_id is None or user_id in (None, self.user_id):
            return user_id if self.user_id is None else self.user_id
        raise not_found(f"user {user_id}")


async def _viewer(
    request: Request,
    shown: Annotated[Any, Depends(_bearer)],
    served: Annotated[Services, Depends(services)],
) -> AsyncIterator[Viewer]:
    if not served.tokens.are_required:
        _check_local(request)
        viewer = Viewer(_LOCAL, _caller(request, served, None), _origin(request))
        viewer.caller.use()
        yield viewer
        return
    token = None if shown is None else served.tokens.find(shown.credentials)
    if token is None:
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            "Send the server's token: Authorization: Bearer ….",
            {"WWW-Authenticate": "Bearer"},
        )
    request.state.bound_to = token.user_id
    viewer = Viewer(token, _caller(request, served, token), _origin(request))
    viewer.caller.use()
    with served.tokens.in_use(token, viewer.caller.client):
        yield viewer


def _caller(request: Request, served: Services, token: HttpToken | None) -> Caller:
    return Caller(served.quotas.of(token), request.state.connection)


def _origin(request: Request) -> str:
    """The address of the client, and that of a proxy's client as the proxy names it."""
    host = request.client.host if request.client else "unknown"
    forwarded = request.headers.get("X-Forwarded-For")
    return f"{host} for {forwarded}" if forwarded else host


def _check_local(request: Request) -> None:
    """Reject callers through a proxy: one on this machine connects from loopback for remote
    callers.
    """
    is_forwarded = any(name in request.headers for name in _FORWARDED)
    if is_forwarded or not is_loopback(request.url.hostname or ""):
        raise ProblemError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "Without a token this server answers to localhost only, and not through a proxy: make "
            "one with `execstream tokens create`.",
        )


CurrentViewer = Annotated[Viewer, Depends(_viewer)]


async def _hold_large(viewer: CurrentViewer) -> AsyncIterator[None]:
    async with viewer.caller.large():
        yield


Large = Depends(_hold_large)
"""For routes whose answer may be of any size. Held until the answer is sent."""


async def _hold_public(
    request: Request, served: Annotated[Services, Depends(services)]
) -> AsyncIterator[None]:
    caller = _caller(request, served, None)
    caller.use()
    async with caller.large():
        yield


# ---- the access of a route -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Access:
    """The tokens that a route answers.

    Attributes:
        scope: the scope that they need; None: any token will do.
        is_for_users: whether tokens of a user are answered, about that user; for others of these
            there is nothing here.
    """

    scope: TokenScope | None
    is_for_users: bool

    def __call__(self, viewer: CurrentViewer) -> None:
        """Raise ProblemError 404 or 403 for other tokens."""
        if viewer.bound_to is not None and not self.is_for_users:
            raise ProblemError(HTTPStatus.NOT_FOUND, "There is nothing here.")
        if self.scope is not None and self.scope not in viewer.token.scopes:
            raise ProblemError(
                HTTPStatus.FORBIDDEN, f"This needs a token with the scope {self.scope}."
            )


def _refuse_none() -> None:
    pass


AnyToken = Depends(Access(None, is_for_users=True))
Read = Depends(Access(TokenScope.READ, is_for_users=True))
Write = Depends(Access(TokenScope.WRITE, is_for_users=True))
ReadAll = Depends(Access(TokenScope.READ, is_for_users=False))
"""For routes about the runs of all users together."""
Operate = Depends(Access(TokenScope.OPERATE, is_for_users=False))
Administer = Depends(Access(TokenScope.ADMIN, is_for_users=False))
Open = Depends(_refuse_none)
"""For routes without data of runs, which need no token."""
Public = Depends(_hold_public)
"""For routes without a token that share one quota."""

_WITHOUT_TOKEN = (Open.dependency, Public.dependency)


class NoAccessNamed(Fatal):
    """A route names no access, or several."""


def access_of(route: APIRoute) -> Access | None:
    """The access that a route names, None for routes without a token. Raises NoAccessNamed."""
    named = [
        one
        for one in (depends.dependency for depends in route.dependencies)
        if isinstance(one, Access) or one in _WITHOUT_TOKEN
    ]
    if len(named) != 1:
        raise NoAccessNamed(f"{route.path} names {len(named)} accesses, not one.")
    return named[0] if isinstance(named[0], Access) else None


def check_access(routes: Iterable[BaseRoute]) -> None:
    """Raise NoAccessNamed for the first route of the API that does not name one access."""
    for route in routes:
        if isinstance(route, APIRoute):
            access_of(route)
