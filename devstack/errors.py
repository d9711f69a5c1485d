"""What can keep the local stack from running, as sentences for the person at the terminal."""


class StackError(Exception):
    """The local stack cannot start or go on; the message says why and what to do."""
