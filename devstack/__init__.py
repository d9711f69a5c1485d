"""Real Kafka, PostgreSQL and Redis from packages, for a laptop, for tests and for CI.

For development only: one node each, on loopback, without passwords.
"""

from devstack.addresses import Addresses
from devstack.errors import StackError
from devstack.stack import Stack
from devstack.start import start

__all__ = ["Addresses", "Stack", "StackError", "start"]
