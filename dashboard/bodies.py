"""Bodies of requests: JSON alone, and large ones only within the quota of their token."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus

from fastapi import Depends, Request

from execstream.dashboard.access import Viewer
from execstream.dashboard.middleware import MAX_BODY
from execstream.dashboard.problems import ProblemError


def require_json(request: Request) -> None:
    """Refuse the types that a foreign page can send without asking first."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body as Content-Type: application/json."
        )


JsonBody = Depends(require_json)


async def read_body(
    request: Request, viewer: Viewer, most: int, too_large: ProblemError
) -> AsyncIterator[bytes]:
    """Yield the body of up to `most` bytes once; a large one is held until the generator ends."""
    body = bytearray()
    async with AsyncExitStack() as held:
        is_held = False
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise too_large
            if len(body) > MAX_BODY and not is_held:
                await held.enter_async_context(viewer.caller.large())
                is_held = True
        yield bytes(body)
