// Starts runs on execstream with kafkajs, and brings them to an end.
//
// Environment: BOOTSTRAP, TOPIC, RUNS. The default partitioner of kafkajs 2 is Java's murmur2; the
// LegacyPartitioner of kafkajs 1 is not.
import { randomUUID } from "node:crypto";
import { Kafka, Partitioners, logLevel } from "kafkajs";

const LEFT = 5; // of the runs, the last ones, stay RUNNING

const kafka = new Kafka({ brokers: [process.env.BOOTSTRAP], logLevel: logLevel.ERROR });
const producer = kafka.producer({
  createPartitioner: Partitioners.DefaultPartitioner,
  idempotent: true,
});

function command(type, run, fields = {}) {
  const value = {
    type,
    id: randomUUID(),
    at: new Date().toISOString(),
    user_id: "kafkajs",
    graph_exec_id: run,
    ...fields,
  };
  return { key: run, value: JSON.stringify(value) };
}

await producer.connect();
const runs = Number(process.env.RUNS);
for (let number = 0; number < runs; number++) {
  const run = randomUUID();
  const messages = [
    command("graph.create", run, {
      graph_id: "example",
      graph_version: 1,
      starting_nodes: [],
    }),
    command("graph.start", run),
  ];
  if (number < runs - LEFT) {
    messages.push(command("graph.update", run, { status: "COMPLETED" }));
  }
  await producer.send({ topic: process.env.TOPIC, acks: -1, messages });
  console.log(run);
}
await producer.disconnect();
