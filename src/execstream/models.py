"""Models that the reads return, the event buses deliver and the queues carry."""

from execstream.storage import models
from execstream.storage.models import *  # noqa: F403 - the names are listed once, in their package

__all__: list[str] = []
__all__ += models.__all__
