"""Share tokens: the holder of one may see a run's outputs.

Only its hash is sent and stored, so neither topics nor tables give a token away.
"""

import secrets
from hashlib import sha256

TOKEN_BYTES = 32
# The length of 128 random bits in the characters of a URL.
SHORTEST = 22


def new_share_token() -> str:
    """A token of 256 random bits, as it may stand in a URL."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_share_token(token: str) -> str:
    """The stored form of a token: hexadecimal SHA-256."""
    # A guess may hold anything, half a surrogate pair too.
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
