"""Errors of the local stack, as sentences for the user at the terminal."""


class StackError(Exception):
    """The local stack cannot start or continue; the message has the reason and the remedy."""
