"""Starts runs on execstream with confluent-kafka, and brings them to an end.

Environment: BOOTSTRAP, TOPIC, RUNS, and PARTITIONER, which is librdkafka's. With its default,
`consistent_random`, the runs are on another partition than their keys choose. They work all the
same, because all commands of a run go the same way; `execstream doctor` reports them.

The times have seven digits of a second's fraction, as .NET writes them.
"""

import json
import os
from datetime import UTC, datetime
from uuid import uuid4

from confluent_kafka import Producer

LEFT = 5  # of the runs, the last ones, stay RUNNING


def command(type_: str, run: str, **fields: object) -> bytes:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f7Z")
    common = {"type": type_, "id": str(uuid4()), "at": at, "user_id": "confluent"}
    return json.dumps(common | {"graph_exec_id": run} | fields).encode()


def main() -> None:
    producer = Producer(
        {
            "bootstrap.servers": os.environ["BOOTSTRAP"],
            "partitioner": os.environ.get("PARTITIONER", "murmur2_random"),
            "enable.idempotence": True,
        }
    )
    runs = int(os.environ["RUNS"])
    for number in range(runs):
        run = str(uuid4())
        values = [
            command("graph.create", run, graph_id="example", graph_version=1, starting_nodes=[]),
            command("graph.start", run),
        ]
        if number < runs - LEFT:
            values.append(command("graph.update", run, status="COMPLETED"))
        for value in values:
            producer.produce(os.environ["TOPIC"], key=run, value=value)
        print(run)
    if producer.flush(30):
        raise SystemExit("Kafka has not confirmed all of them.")


if __name__ == "__main__":
    main()
