"""The rows of the fault table."""

from tests.faults import (
    brokers,
    disks,
    drills,
    failovers,
    faults,
    network_faults,
    other_trials,
    postgres_faults,
    repeats,
    replays,
    stock_faust,
    worker_faults,
)
from tests.faults.points import DEATHS, Point
from tests.faults.scenarios import (
    CONTROL,
    Run,
    Scenario,
    bridge_repeated,
    lose_and_kill,
    points_repeated,
    repeated,
    under_load,
)
from tests.recovery.test_drills import DRILLS


def _load(fault: faults.Fault, appliers: int = 2) -> Run:
    return under_load(repeated(fault), appliers=appliers)


WORKERS = (
    Scenario("F1", 4, 50, "kill -9 of `apply`", _load(faults.kill_applier)),
    Scenario("F1", 0, 10, "kill -9 of `bridge`", under_load(bridge_repeated(faults.kill_bridge))),
    Scenario(
        *("F1", 7, 70, "death at each of seven named points of `apply`"),
        under_load(points_repeated(*DEATHS), appliers=1),
    ),
    Scenario("F1", 0, 5, "answers of commits and fetches lost", _load(faults.lose, appliers=1)),
    Scenario("F1", 0, 10, "`apply` killed for its memory", _load(worker_faults.run_out_of_memory)),
    Scenario("F2", 2, 20, "SIGTERM of `apply`", _load(faults.terminate_applier)),
    Scenario("F3", 1, 20, "SIGSTOP beyond the session", _load(faults.freeze_applier)),
    Scenario(
        *("F4", 0, 180, "one of four workers joins or leaves each 2 s"),
        under_load(worker_faults.join_and_leave, appliers=4),
    ),
)
SERVERS = (
    Scenario("F5", 1, 10, "kill -9 of the broker", _load(faults.kill_server("kafka"))),
    Scenario("F5", 0, 3, "broker away for 30 s", _load(faults.kill_server("kafka", 30.0))),
    Scenario("F5", 0, 12, "four positions outside the topic", other_trials.refuse_positions),
    Scenario("F6", 2, 10, "kill -9 of Postgres", _load(faults.kill_server("postgres"))),
    Scenario(
        *("F6", 2, 10, "kill -9 of Postgres while answers are lost"),
        under_load(lose_and_kill, appliers=1),
    ),
    Scenario("F6", 0, 10, "sessions terminated", _load(postgres_faults.terminate_backends)),
    Scenario("F6", 0, 10, "Postgres read-only", _load(postgres_faults.make_read_only)),
    Scenario("F6", 0, 10, "deadlock in Postgres", _load(postgres_faults.deadlock)),
    Scenario("F6", 0, 10, "journal locked for 31 s", _load(postgres_faults.lock_out)),
    Scenario(
        *("F7", 1, 5, "kill -9 of Redis"),
        under_load(bridge_repeated(faults.kill_server("redis")), redis_stays=False),
    ),
    Scenario(
        *("F7", 0, 5, "Redis away for 60 s"),
        under_load(bridge_repeated(faults.kill_server("redis", 60.0)), redis_stays=False),
    ),
)
DISKS_AND_REPLICAS = (
    Scenario("F5", 0, 10, "disk of the broker full", disks.on_a_small_disk("kafka")),
    Scenario("F6", 1, 10, "disk of Postgres full", disks.on_a_small_disk("postgres")),
    Scenario("F5", 0, 10, "kill -9 of one of three brokers", brokers.lose_one),
    Scenario(
        *("F6", 0, 5, "Postgres fails over to a synchronous replica"),
        failovers.of_postgres(synchronous=True),
    ),
    Scenario(
        *("F6", 1, 5, "Postgres fails over to a replica 1.5 s behind"),
        failovers.of_postgres(synchronous=False),
    ),
    Scenario("F7", 0, 5, "Redis fails over to a replica", failovers.of_redis),
)
NETWORK = (
    Scenario(
        *("F8", 0, 10, "50 ms of delay and 3 % loss, between one worker and all servers"),
        network_faults.behind_a_wire(network_faults.slow_down),
    ),
    Scenario(
        *("F8", 0, 10, "packets lost from a worker to the broker"),
        network_faults.behind_a_wire(network_faults.cut("kafka", to=True)),
    ),
    Scenario(
        *("F8", 0, 10, "packets lost from the broker to a worker"),
        network_faults.behind_a_wire(network_faults.cut("kafka", to=False)),
    ),
    Scenario(
        *("F8", 0, 10, "packets lost from a worker to Postgres"),
        network_faults.behind_a_wire(network_faults.cut("postgres", to=True)),
    ),
    Scenario(
        *("F8", 1, 10, "packets lost from Postgres to a worker"),
        network_faults.behind_a_wire(network_faults.cut("postgres", to=False)),
    ),
)
OTHERS = (
    Scenario("F9", 0, 5, "clocks of workers ± 1 h", _load(worker_faults.skew_clocks)),
    Scenario("F10", 0, 5, "500 commands sent again", _load(repeats.resend)),
    Scenario("F10", 0, 5, "Kafka's offsets deleted", _load(repeats.delete_group_offsets)),
    Scenario("F10", 0, 5, "Kafka's offsets set back by 10,000", _load(repeats.set_group_back)),
    Scenario(
        *("F11", 0, other_trials.LONG_SEQUENCES),
        *("random sequences of commands", other_trials.try_sequences),
    ),
    Scenario("F12", 0, 5, "replay killed, and repeated, beside load", _load(replays.replay)),
    *(Scenario("drill", 0, 3, name, drills.drilled(name)) for name in DRILLS),
)
CONTROLS = (
    Scenario(
        *(CONTROL, 1, 3, "offset committed before the rows"),
        _load(faults.die_at(Point.OFFSET_FIRST), appliers=1),
    ),
    Scenario(CONTROL, 8, 20, "stock Faust agent, sessions terminated", stock_faust.run),
)
SCENARIOS = (*WORKERS, *SERVERS, *DISKS_AND_REPLICAS, *NETWORK, *OTHERS, *CONTROLS)
