"""Addresses of servers as they may be shown: an allow-list, so that no form of a password is."""

import re

HIDDEN = "***"

# Options of addresses that hold no secret. Every other one is left out.
_OPTIONS = frozenset(
    (
        *("sslmode", "sslrootcert", "ssl_ca_certs", "ssl_cert_reqs", "target_session_attrs"),
        *("host", "port", "user", "database", "dbname", "db", "protocol", "application_name"),
        *("connect_timeout", "socket_timeout", "socket_connect_timeout"),
    )
)
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?:(?P<user>[\w.%~+-]*)(?P<password>:[^/?#@\s]*)?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)?"
    r"(?P<path>/[\w./%~+-]*)?"
    r"(?:\?(?P<query>[^\s#]*))?(?P<fragment>#\S*)?",
    re.ASCII,
)
_OPTION = re.compile(r"(?P<name>[a-z_]+)=[\w./:,-]*", re.ASCII)
BETWEEN_ADDRESSES = re.compile(r",(?=[a-z][a-z0-9+.-]*://)")


def shown_address(text: str) -> str:
    """Return one address, or several with commas between, with only the parts that may be shown.

    These are scheme, user, hosts, ports, path, and some options; `***` stands for anything else. Of
    an address in another form only the scheme is shown.
    """
    return ",".join(map(_shown, BETWEEN_ADDRESSES.split(text)))


def _shown(address: str) -> str:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        scheme, separator, _ = address.partition("://")
        return f"{scheme}://{HIDDEN}" if separator and scheme.isalnum() else HIDDEN
    user = found["user"] or ""
    if found["password"]:
        user += f":{HIDDEN}"
    if user:
        user += "@"
    shown = f"{found['scheme']}://{user}{found['hosts'] or ''}{found['path'] or ''}"
    options = found["query"].split("&") if found["query"] else []
    kept = [one for one in options if _may_be_shown(one)]
    if len(kept) < len(options) or found["fragment"]:
        kept.append(HIDDEN)
    return f"{shown}?{'&'.join(kept)}" if kept else shown


def _may_be_shown(option: str) -> bool:
    found = _OPTION.fullmatch(option)
    return found is not None and found["name"] in _OPTIONS
