"""Real Kafka, PostgreSQL and Redis from packages, for a laptop, for tests and for CI.

For development only: one node each, on loopback. Postgres and Redis want the password of the
state directory; Kafka takes commands of every user of the machine.
"""

from execstream.devstack.addresses import Addresses
from execstream.devstack.errors import StackError
from execstream.devstack.stack import Stack
from execstream.devstack.start import start

__all__ = ["Addresses", "Stack", "StackError", "start"]
