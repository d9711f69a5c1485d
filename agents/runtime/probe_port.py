"""The paths of a worker's probes, and whether the port is free at which they shall answer."""

import socket

import structlog

log = structlog.get_logger(__name__)

LIVE, READY, METRICS = "/livez", "/readyz", "/metrics"


def is_free(host: str, port: int) -> bool:
    """Return whether `port` is free; a second worker of this machine goes without probes."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((host, port))
        except OSError:
            log.warning("port_taken", host=host, port=port, remedy="set another, or 0 for none")
            return False
    return True
