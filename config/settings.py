"""Settings: one frozen object, read from the environment when a process starts.

Every field is the variable `EXECSTREAM_<FIELD>`. When none of the three servers is named, the
local stack is used that `execstream up` describes in `.execstream/stack.json`.
"""

import ipaddress
import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from execstream.config.address_syntax import checked_address, complaint, is_address
from execstream.config.setting_forms import ADDRESSES, FORMS, OPEN
from execstream.config.shown_addresses import BETWEEN_ADDRESSES, HIDDEN, shown_address
from execstream.kafka.security import Security
from execstream.streams.errors import NotConfigured
from execstream.streams.statuses import ENDED
from execstream.streams.totals.class_rules import WrongRulesError, parse_rules
from execstream.streams.totals.error_classes import Rule

PREFIX = "EXECSTREAM_"
_ENDS = "|".join(sorted(ENDED))
LOCAL_STATE = Path(".execstream")
SERVERS = ("kafka_bootstrap", "postgres_dsn", "redis_url")

_UNREADABLE = "unreadable_address"
SUPERVISOR = f"{PREFIX}SUPERVISOR"  # the process id of `up`, for its children
PROBE_SOCKET = f"{PREFIX}PROBE_SOCKET"  # where a process of several answers the one that began it
MCP_TOKEN = f"{PREFIX}MCP_TOKEN"  # of the caller of `mcp`, not of the server

AUTO: Literal["auto"] = "auto"
STRICT: Literal["strict"] = "strict"

_MIB = 1024 * 1024
_HOST = r"[^\s,/:]+|\[[0-9a-fA-F:]+\]"
_BOOTSTRAP = rf"^(?:{_HOST}):\d{{1,5}}(?:,(?:{_HOST}):\d{{1,5}})*$"
_BLOCK_RATE = r"[A-Za-z0-9_.:@|-]{1,128}=(?:0|1|0?\.[0-9]{1,9})"
_ONE = r"[A-Za-z0-9._~-]{16,}(?:=[A-Za-z0-9_.:@|-]{1,128})?"
_TOKENS = rf"^{_ONE}(?:,{_ONE})*$"


class Settings(BaseSettings):
    """Addresses of the servers, names of our objects on them, limits, and logging."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True)

    kafka_bootstrap: str | None = Field(
        None, pattern=_BOOTSTRAP, description="brokers to begin with"
    )
    postgres_dsn: str | None = Field(None, pattern=r"^postgres(ql)?://", description="the database")
    original_dsn: str | None = Field(
        None,
        pattern=r"^postgres(ql)?://",
        description="the original's database, for `execstream.execution`: blocks of nodes",
    )
    redis_url: str | None = Field(
        None, pattern=r"^(rediss?|unix)://", description="channels and replies"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Kafka security protocol"
    )
    kafka_ssl_cafile: str | None = Field(
        None, description="whose certificates to trust; the authorities of the system when not set"
    )
    kafka_ssl_certfile: str | None = Field(
        None, description="our own certificate, where brokers ask for one"
    )
    kafka_ssl_keyfile: str | None = Field(
        None, description="the key of that certificate, when not in the same file"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism"
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user name")
    kafka_sasl_password: str | None = Field(None, description="the password of that user")
    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,128}$", description="stands before every topic's name"
    )
    schema_: str = Field(
        "execstream",
        alias=f"{PREFIX}SCHEMA",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="the schema in Postgres",
    )
    redis_prefix: str = Field("", description="stands before every Redis key and channel")
    group_prefix: str = Field(
        "execstream", min_length=1, description="stands before every consumer group"
    )
    group_instance: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description=(
            "name of this worker in its consumer groups, and of no other worker: started again "
            "within 10 seconds, it has its partitions as before, and no other worker pauses"
        ),
    )
    replication_factor: int | None = Field(
        None, ge=1, le=32_767, description="of every topic; as in topics.yaml when not set"
    )
    max_command_bytes: int = Field(
        8 * _MIB, ge=1024, le=24 * _MIB, description="larger commands become dead letters"
    )
    max_message_bytes: int = Field(
        16 * _MIB, ge=4096, description="larger Redis messages are shortened"
    )
    http_host: str = Field("127.0.0.1", min_length=1, description="where the HTTP server listens")
    http_port: int = Field(8686, ge=0, le=65_535, description="of the HTTP server; 0: a free one")
    http_token: str | None = Field(
        None,
        pattern=_TOKENS,
        description="what requests must send, or several with commas between; `TOKEN=USER_ID` "
        "shows only what is that user's; needed when others than this machine can come in",
    )
    http_rate: float = Field(
        50.0, gt=0, le=1e6, description="requests per second that the HTTP server takes of a token"
    )
    http_large: int = Field(
        4,
        ge=1,
        le=8,
        description="requests of a token at once whose answers or bodies may be of any size",
    )
    tenancy: Literal["off", "strict"] = Field(
        "off",
        description="strict: for tokens bound to a user the HTTP server reads under row security "
        "of Postgres, which `migrate` sets up with this setting",
    )
    worker_host: str = Field("127.0.0.1", min_length=1, description="where workers answer probes")
    apply_processes: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        1,
        description="of a worker of role apply; auto: one less than there are cores, at most one "
        "per partition and at least one, which is what `up` and `demo` take when it is not set",
    )
    apply_port: int = Field(8688, ge=0, le=65_535, description="of a worker of role apply; 0: none")
    tally_port: int = Field(8687, ge=0, le=65_535, description="of a worker of role tally; 0: none")
    tally_urls: str | None = Field(
        None,
        pattern=r"^https?://[^,\s]+(?:,https?://[^,\s]+)*$",
        description="where workers of role tally answer the HTTP server, with commas between; when "
        "not set, the one of this machine",
    )
    bridge_port: int = Field(
        8689, ge=0, le=65_535, description="of a worker of role bridge; 0: none"
    )
    alerts: bool = Field(True, description="enable alerting")
    alert_failure_rate: float = Field(
        0.1, gt=0, lt=1, description="the part of a block's steps that may fail without an alert"
    )
    alert_block_rates: str | None = Field(
        None,
        pattern=rf"^{_BLOCK_RATE}(?:,{_BLOCK_RATE})*$",
        description="the same for some blocks, like BLOCK_ID=0.3,BLOCK_ID=0.02",
    )
    alert_stuck_probability: float = Field(
        0.001,
        gt=0,
        lt=1,
        description="a run is stuck when a step of it was less likely than that to take so long",
    )
    alert_silence: float = Field(
        300.0, ge=1, description="seconds; a run that was heard of since then is never stuck"
    )
    alert_caller_failures: bool = Field(
        False,
        description="let failures that the caller's input or credentials caused raise alerts too",
    )
    alert_webhook_url: str | None = Field(
        None, pattern=r"^https?://", description="where alerts and ends of runs are posted"
    )
    alert_webhook_secret: str | None = Field(
        None, min_length=16, description="signs requests to the webhook"
    )
    webhook_run_statuses: str | None = Field(
        None,
        pattern=rf"^({_ENDS})(,({_ENDS}))*$",
        description="ends of runs that the webhook gets, like FAILED,TERMINATED; none when not set",
    )
    webhook_run_graphs: str | None = Field(
        None, description="ids, with commas: only the ends of runs of these graphs"
    )
    webhook_run_users: str | None = Field(
        None, description="ids, with commas: only the ends of runs of these users"
    )
    traces_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description=(
            "receiver of OTLP over HTTP for spans of commands, such as http://127.0.0.1:4318; "
            "needs the extra otel"
        ),
    )
    traces_ratio: float = Field(
        0.01, ge=0, le=1, description="part of the commands of `ExecutionClient` that are traced"
    )
    class_rules_file: str | None = Field(
        None, description="TOML file of rules that classify errors, before the built-in"
    )
    actor: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.:@|-]{1,128}$",
        description="name of the operator at this terminal; the system's user when not set",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="minimum log level"
    )
    log_format: Literal["auto", "columns", "json"] = Field(
        "auto", description="auto: columns at a terminal, JSON lines otherwise"
    )

    @field_validator(
        "postgres_dsn", "original_dsn", "redis_url", "alert_webhook_url", "tally_urls", "traces_url"
    )
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None and not all(map(is_address, BETWEEN_ADDRESSES.split(value))):
            raise PydanticCustomError(_UNREADABLE, "unreadable address")
        return value

    @field_validator("class_rules_file")
    @classmethod
    def _check_class_rules(cls, path: str | None) -> str | None:
        read_rules(path)
        return path

    @property
    def class_rules(self) -> list[Rule]:
        """The rules of `class_rules_file`. Raises WrongRulesError when it was spoilt since."""
        return read_rules(self.class_rules_file)

    @property
    def block_rates(self) -> dict[str, float]:
        """`alert_block_rates` by block."""
        pairs = self.alert_block_rates.split(",") if self.alert_block_rates else ()
        return {block: float(rate) for block, _, rate in (pair.rpartition("=") for pair in pairs)}

    @property
    def kafka(self) -> str:
        """`kafka_bootstrap`; NotConfigured when it is not set."""
        return self._needed("kafka_bootstrap")

    @property
    def postgres(self) -> str:
        """`postgres_dsn`; NotConfigured when it is not set."""
        return self._needed("postgres_dsn")

    @property
    def redis(self) -> str:
        """`redis_url`; NotConfigured when it is not set."""
        return self._needed("redis_url")

    @property
    def kafka_security(self) -> Security:
        """The security settings for the brokers; NotConfigured when SASL lacks a user or a
        password.
        """
        security = Security(
            self.kafka_security_protocol,
            self.kafka_sasl_mechanism,
            self.kafka_sasl_username,
            self.kafka_sasl_password,
            self.kafka_ssl_cafile,
            self.kafka_ssl_certfile,
            self.kafka_ssl_keyfile,
        )
        if security.is_sasl and None in (security.username, security.password):
            raise NotConfigured(
                f"{variable('kafka_security_protocol')} {security.protocol} needs "
                f"{variable('kafka_sasl_username')} and {variable('kafka_sasl_password')}."
            )
        return security

    def _needed(self, server: str) -> str:
        address: str | None = getattr(self, server)
        if address is None:
            raise NotConfigured(f"This needs {variable(server)}, which is not set.")
        return address

    def at(self, **addresses: str | None) -> Self:
        """A copy with other addresses of servers; None leaves one as it is.

        Raises NotConfigured for an address that cannot be read.
        """
        changes = {server: address for server, address in addresses.items() if address is not None}
        for server in changes.keys() - {"kafka_bootstrap"}:
            checked_address(changes[server], FORMS[server])
        return self.model_copy(update=changes)

    def __repr_args__(self) -> Iterable[tuple[str | None, object]]:
        return self.shown().items()

    def shown(self) -> dict[str, object]:
        """All values by variable; those that may hold a password are masked."""
        return {
            variable(name): _shown(name, getattr(self, name)) for name in type(self).model_fields
        }

    def environment(self) -> dict[str, str]:
        """The variables that give a child process these settings."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {variable(name): str(value) for name, value in values.items() if value is not None}


def read_settings() -> Settings:
    """Settings from the environment alone; all wrong ones are named in one NotConfigured."""
    try:
        return Settings()
    except ValidationError as invalid:
        wrong = [_complaint(error) for error in invalid.errors(include_input=False)]
        raise NotConfigured("; ".join(wrong) + ".") from None


def load_settings() -> Settings:
    """Settings from the environment, with the servers of the local stack when none is named.

    Prints on stderr when it uses the local stack; NotConfigured when there is none either.
    """
    settings = read_settings()
    if names_servers(settings):
        return settings
    description = LOCAL_STATE / "stack.json"
    try:
        stack = json.loads(description.read_text())
    except FileNotFoundError:
        raise NotConfigured(
            "No servers are named and no local stack runs here: run `execstream up`, or set "
            f"{', '.join(map(variable, SERVERS))}."
        ) from None
    print(f"Using the local stack of {description}", file=sys.stderr)
    return settings.at(**{server: stack[server] for server in SERVERS})


def read_rules(path: str | None) -> list[Rule]:
    """The class rules of a file; none without one. Raises WrongRulesError."""
    if path is None:
        return []
    try:
        return parse_rules(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise WrongRulesError(f"it cannot be read: {error}") from error


def names_servers(settings: Settings) -> bool:
    """Return whether at least one server is named."""
    return any(getattr(settings, server) is not None for server in SERVERS)


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.rstrip("_").upper()


def _complaint(error: ErrorDetails) -> str:
    """The error of one field as a sentence; only public values are repeated."""
    name = variable(str(error["loc"][0]).removeprefix(PREFIX))
    field = {variable(field): field for field in Settings.model_fields}[name]
    found = f" is {os.environ.get(name)!r} and" if field in OPEN else ""
    if error["type"] == "string_pattern_mismatch":
        return f"{name}{found} must be {FORMS[field]}"
    if error["type"] == _UNREADABLE:
        return f"{name} {complaint(FORMS[field])}"
    return f"{name}{found} is wrong: {error['msg'].removeprefix('Value error, ')}"


def _shown(field: str, value: object) -> object:
    """The value of a field as it may be printed."""
    if value is None or field in OPEN:
        return value
    if field == "kafka_bootstrap" and re.fullmatch(_BOOTSTRAP, str(value)):
        return value
    return shown_address(str(value)) if field in ADDRESSES else HIDDEN


def settings_at(enough: Iterable[str], **addresses: str | None) -> Settings:
    """Return the settings with `addresses`, where None leaves one as it is.

    The local stack is looked for only when one of the addresses that are `enough` is None.
    """
    settings = read_settings() if all(addresses[one] for one in enough) else load_settings()
    return settings.at(**addresses)


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address, is this machine for certain."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
