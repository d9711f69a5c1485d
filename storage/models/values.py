"""Names for the shapes that values of pins come in, and the credentials a run was given."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

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
    """Which credentials a run may use; never a secret itself. Fields beyond these are kept."""

    model_config = ConfigDict(extra="allow")

    id: str
    title: str | None = None
    provider: str
    type: Literal["api_key", "oauth2", "user_password", "host_scoped"]

    @field_validator("provider")
    @classmethod
    def _without_enum_name(cls, provider: str) -> str:
        """Accept the name of an enum's member, `ProviderName.OPEN_AI`, as older rows have it."""
        prefix = "ProviderName."
        return provider.removeprefix(prefix).lower() if provider.startswith(prefix) else provider

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema of the fields, which a serializer of the whole would hide."""
        return handler({name: part for name, part in schema.items() if name != "serialization"})

    @model_serializer(mode="wrap")
    def _as_sent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields that were sent, and no default in the place of one that was not."""
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if name in self.model_fields_set}
