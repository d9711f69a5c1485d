"""Addresses of the original's database, as Prisma takes them."""

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

DEFAULT_SCHEMA = "public"
# Parameters of Prisma's addresses, which Postgres does not know.
_PRISMA = frozenset(
    (
        *("schema", "connection_limit", "pool_timeout", "pgbouncer", "statement_cache_size"),
        *("connect_timeout", "socket_timeout"),
    )
)


def parsed_address(dsn: str) -> tuple[str, str]:
    """Return the address without Prisma's own parameters, and the schema that it names."""
    parts = urlsplit(dsn)
    named = parse_qsl(parts.query)
    kept = urlencode([pair for pair in named if pair[0] not in _PRISMA])
    return urlunsplit(parts._replace(query=kept)), dict(named).get("schema", DEFAULT_SCHEMA)
