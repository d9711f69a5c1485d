"""Logging: a short event name plus fields; columns at a terminal, JSON lines otherwise.

Log records of libraries through `logging` have the same form. Everything goes to stderr.
"""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from execstream.config.settings import Settings
from execstream.streams.text import escape_controls

# They log every request, reconnection or rebalance at INFO, and whole records at DEBUG.
_TALKATIVE = ("aiokafka", "asyncio", "faust", "kafka", "mode")


def configure_logging(settings: Settings) -> None:
    """Set up structlog and `logging` for this process."""
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *common,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings.log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _TALKATIVE:
        level = logging.INFO if settings.log_level == "debug" else logging.WARNING
        logging.getLogger(name).setLevel(level)


def _renderers(log_format: str) -> list[Processor]:
    if log_format == "columns" or (log_format == "auto" and sys.stderr.isatty()):
        return [
            structlog.processors.format_exc_info,
            _escaped,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _escaped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Errors repeat values of strangers, and columns are for a terminal."""
    return {
        name: escape_controls(value, is_block=name == "exception")
        if isinstance(value, str)
        else value
        for name, value in event.items()
    }
