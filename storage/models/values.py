"""Names for the shapes that values of pins come in, and the credentials a run was given."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, JsonValue, field_validator

GraphInput = dict[str, Any]
"""The inputs of a run, by name."""

BlockInput = dict[str, Any]
"""One value per input pin."""

BlockOutputEntry = tuple[str, Any]
"""A pin and one of the values it emitted."""

BlockOutput = AsyncGenerator[BlockOutputEntry, None]
"""Values as a block emits them; one pin may emit many."""

CompletedBlockOutput = dict[str, list[Any]]
"""All values of each pin, in the order they were emitted."""

NodeInputMask = Mapping[str, JsonValue]
"""Values that stand in for those of a node's input pins."""

NodesInputMasks = Mapping[str, NodeInputMask]
"""Masks by `node_id`."""


class CredentialsMetaInput(BaseModel):
    """Which credentials a run may use; never a secret itself."""

    id: str
    title: str | None = None
    provider: str
    type: Literal["api_key", "oauth2", "user_password", "host_scoped"]

    @field_validator("provider")
    @classmethod
    def _without_enum_name(cls, provider: str) -> str:
        """What was once stored as the name of an enum's member, `ProviderName.OPEN_AI`."""
        prefix = "ProviderName."
        return provider.removeprefix(prefix).lower() if provider.startswith(prefix) else provider
