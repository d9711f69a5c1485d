"""The form of addresses with a password, checked before a client library reads them.

The libraries take an unreadable part for a port or an option and repeat it in their errors, and it
may be a part of the password: one with `/` ends the host.
"""

import re
from urllib.parse import urlsplit

from execstream.streams.errors import NotConfigured

POSTGRES_FORM = "like postgresql://user:password@host/database"
REDIS_FORM = "like redis://user:password@host:6379/0"

_NAME = r"(?:[^\s,:/?#@\[\]]+|\[[0-9A-Fa-f:.]+\])"
_DIGITS = r"(?::\d{0,5})?"
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]*://"
    r"(?:[^\s/?#@\[\]]*@)?"
    rf"(?:{_NAME}?{_DIGITS}|{_NAME}{_DIGITS}(?:,{_NAME}{_DIGITS})+)"
    r"(?:/[^\s?#@]*)?"
    r"(?:\?(?:[^\s#&=]+=[^\s#&]*(?:&|(?=#|\Z)))*)?"
    r"(?:#[^\s@]*)?"
)
_MOST_PORT = 65_535
_PORT = re.compile(r"(?<=:)\d+")


def is_address(text: str) -> bool:
    """Return whether each part of an address can be read.

    In user, password and database, `/ ? # [ ] @` and blanks are percent-encoded.
    """
    if _ADDRESS.fullmatch(text) is None:
        return False
    try:
        hosts = urlsplit(text).netloc.rpartition("@")[2]  # which refuses some characters
    except ValueError:
        return False
    if "," in hosts and not text.startswith("postgres"):  # only Postgres has lists of them
        return False
    return all(int(port) <= _MOST_PORT for port in _PORT.findall(hosts.rpartition("]")[2]))


def checked_address(text: str, form: str) -> str:
    """Return the address `text`; NotConfigured, without a part of it, if it is unreadable.

    `form` describes addresses of this kind.
    """
    if not is_address(text):
        raise NotConfigured(f"An address {complaint(form)}.")
    return text


def complaint(form: str) -> str:
    """Return the predicate of a sentence on an unreadable address."""
    return (
        f"cannot be read: it must be {form}, where characters such as / ? # [ ] @ in user, "
        "password and database are percent-encoded"
    )
