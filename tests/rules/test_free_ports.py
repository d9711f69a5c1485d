"""Ports that a local stack chooses, before anything listens on them."""

from execstream.cli.stack import with_free_ports
from execstream.config.settings import Settings


def test_stacks_that_start_at_once() -> None:
    """Each has ports of its own, long before their servers take them."""
    settings = Settings()
    chosen = [with_free_ports(settings) for _ in range(2)]
    ports = [
        port
        for one in chosen
        for port in (one.http_port, one.apply_port, one.tally_port, one.bridge_port)
    ]
    assert len(set(ports)) == len(ports)
