"""A worker process: one Faust app for one role, until SIGTERM or Ctrl-C."""

import gc
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from faust.auth import SASLCredentials, SSLCredentials
from yarl import URL

from execstream.agents import read_catalogue
from execstream.agents.alerts import timers
from execstream.agents.apply import apply_commands
from execstream.agents.bridge import bridge_to_redis
from execstream.agents.runtime import probes
from execstream.agents.runtime.faust_app import App, OneEventPerFetch, Transport
from execstream.agents.runtime.fetch_waits import Fetching
from execstream.agents.runtime.large_buffers import return_large_buffers
from execstream.agents.runtime.local_hosts import answer_local_hosts
from execstream.agents.runtime.probe_port import is_free
from execstream.agents.runtime.waits import TableManager, Worker
from execstream.agents.tally import tally_stats
from execstream.config.identity import Identity
from execstream.config.settings import Settings
from execstream.kafka import header_decoding
from execstream.kafka.security import client_options

# The agents that each role declares.
ROLES: dict[str, tuple[Callable[[App, Settings], None], ...]] = {
    "apply": (apply_commands.declare, read_catalogue.declare),
    "bridge": (bridge_to_redis.declare,),
    "tally": (tally_stats.declare, timers.declare),
}
# When CPU is scarce, applying comes first: the others can catch up with its commits.
NICENESS = {"apply": 0, "tally": 10, "bridge": 10}
# A batch of one record costs almost as much as one of ten, and while records come one by one they
# wait for CPU: at 1,000 commands/s five milliseconds at the broker make a row a quarter sooner.
# A reader of the tally's figures does not notice a tenth of a second.
FETCHING = {
    "apply": Fetching(min_bytes=16 * 1024, max_wait=5),
    "bridge": Fetching(min_bytes=256 * 1024, max_wait=10),
    "tally": Fetching(min_bytes=256 * 1024, max_wait=100),
}
HEARTBEATS = 20  # per session timeout: at their next one the others notice that a member has left


METADATA_AGE = 5_000  # milliseconds until added partitions are noticed


@dataclass(frozen=True, slots=True)
class Timing:
    """Delays until an idle worker is noticed, in seconds. `session_timeout`: without a heartbeat
    until others take over. `stall_after`: of lag without progress until it counts as not alive.
    """

    session_timeout: float = 10.0
    stall_after: float = 30.0


def build_app(
    role: str, settings: Settings, timing: Timing = Timing(), socket: Path | None = None
) -> App:
    """The Faust app of `role`, with its agents declared. Its probes answer at `socket` where there
    is one, else at the port of the role."""
    app = App(
        f"{settings.group_prefix}-{role}",
        fetching=FETCHING[role],
        group_instance=settings.group_instance,
        broker=[URL(f"kafka://{address}") for address in settings.kafka.split(",")],
        broker_credentials=_credentials(),
        ConsumerScheduler=OneEventPerFetch,
        TableManager=TableManager,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_AGE,
        consumer_max_fetch_size=512 * 1024,  # bytes per partition; one larger record still comes
        stream_wait_empty=False,
        stream_buffer_maxsize=2,  # fetches
        agent_supervisor="mode.CrashingSupervisor",
        broker_session_timeout=timing.session_timeout,
        broker_heartbeat_interval=timing.session_timeout / HEARTBEATS,
        broker_rebalance_timeout=timing.session_timeout * 3,
        broker_request_timeout=60.0,
        value_serializer="raw",
        table_standby_replicas=0,
        **_web(settings.worker_host, getattr(settings, f"{role}_port"), socket),
        web_application_options={"middlewares": [answer_local_hosts(settings.worker_host)]},
        datadir=Path(tempfile.gettempdir(), f"execstream-{os.getuid()}"),  # holds nothing
    )
    app.identity = Identity(settings, role)
    # Before the first agent: declaring one freezes the transport.
    app.transport = Transport(app.conf.broker_consumer, app)
    for declare in ROLES[role]:
        declare(app, settings)
    probes.declare(app, settings, timing.stall_after)
    return app


def _credentials() -> SASLCredentials | SSLCredentials | None:
    """`client_options`, as Faust wants it; None: plain."""
    options = client_options()
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
            mechanism=options["sasl_mechanism"],
        )
    return SSLCredentials(context) if context else None


def _web(host: str, port: int, socket: Path | None) -> dict[str, Any]:
    """Settings of Faust's web server, without its own pages."""
    if socket is None and (not port or not is_free(host, port)):
        return {"web_enabled": False}
    place = {"web_bind": host, "web_host": host, "web_port": port}
    return {
        "web_enabled": True,
        "web_router_enabled": False,
        "web_tables_enabled": False,
        **(place if socket is None else {"web_transport": URL(f"unix://{socket}")}),
    }


def run_worker(
    role: str, settings: Settings, timing: Timing = Timing(), socket: Path | None = None
) -> NoReturn:
    """Run until stopped; exits the process with the worker's exit code. `socket`: see
    `build_app`."""
    header_decoding.install()
    return_large_buffers()
    os.nice(NICENESS[role])
    # States and batches live long and form no cycles: looking for garbage among them at the
    # default pace took a sixth of the worker's CPU.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    worker = Worker(
        build_app(role, settings, timing, socket),
        loglevel="warn",
        quiet=True,
        override_logging=False,
        redirect_stdouts=False,
    )
    worker.spinner = None
    worker.execute_from_commandline()
