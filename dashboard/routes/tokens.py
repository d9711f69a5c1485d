"""Routes of tokens: list and revoke them. Only the program makes them."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from execstream.dashboard.access import Administer, CurrentViewer
from execstream.dashboard.auditing import record
from execstream.dashboard.bodies import JsonBody
from execstream.dashboard.problems import not_found
from execstream.dashboard.responses import Json, Listing, listing
from execstream.dashboard.services import Served
from execstream.storage.access.audit_log import Act
from execstream.storage.access.http_tokens import StoredToken, list_tokens, revoke_token

router = APIRouter(prefix="/v1/tokens", tags=["access"], dependencies=[Administer])


class Revocation(BaseModel):
    """The name of the token to revoke."""

    name: str


@router.get("", response_model=Listing[StoredToken])
async def get_tokens(served: Served) -> Response:
    """Tokens of the table, revoked and expired ones too, the newest first."""
    return listing(await list_tokens(served.db))


@router.post("/revoke", response_model=StoredToken, dependencies=[JsonBody])
async def post_revocation(served: Served, viewer: CurrentViewer, body: Revocation) -> Response:
    """Revoke a token: servers refuse it within 5 s, and end its requests."""
    token = await revoke_token(served.db, body.name)
    if token is None:
        raise not_found(f"token {body.name}")
    await record(served, viewer, Act("token.revoke", body.name, "done"))
    return Json(token)
