import { Kafka, Partitioners, logLevel, type Producer, type SASLOptions } from "kafkajs";
import { createClient } from "redis";
import { OutcomeUnknown } from "./errors.js";
import { timeOrderedId } from "./ids.js";
import type { Command } from "./messages/command.js";
import type { Reply } from "./messages/reply.js";

const COMMANDS = "execution.commands.v1";
const REPLIES = "execution_reply/";
const TIMEOUT = 10_000; // milliseconds

type FilledIn = "id" | "at" | "reply_to";
type Fillable<C> = C extends Command ? Omit<C, FilledIn> & Partial<Pick<C, "id" | "at">> : never;

/** A command without what the client fills in: `id`, `at` (unless given) and `reply_to`. */
export type NewCommand = Fillable<Command>;

/** The position of a command in Kafka; `offset` is a decimal number. */
export interface Place {
  topic: string;
  partition: number;
  offset: string;
}

export interface ClientOptions {
  /** Addresses of Kafka, such as `["localhost:9092"]`. */
  brokers: string[];
  ssl?: boolean;
  sasl?: SASLOptions;
  /** Address of Redis, which `call` needs. */
  redisUrl?: string;
  /** Those of the installation: EXECSTREAM_TOPIC_PREFIX and EXECSTREAM_REDIS_PREFIX. */
  topicPrefix?: string;
  redisPrefix?: string;
}

/**
 * Sends commands, and waits for their outcomes.
 *
 * Kafka confirms each command from all replicas. The partition is that of the command's key, by
 * murmur2: commands about a run whose creator has another partitioner go astray, and have the
 * outcome `dead` with the reason `wrong_partition`. Numbers are JavaScript's.
 */
export class ExecutionClient {
  readonly #topic: string;
  readonly #producer: Producer;
  readonly #replies: ReplyListener | undefined;

  private constructor(options: ClientOptions) {
    const { brokers, ssl, sasl } = options;
    const kafka = new Kafka({
      brokers,
      logLevel: logLevel.NOTHING,
      ...(ssl && { ssl }),
      ...(sasl && { sasl }),
    });
    this.#topic = (options.topicPrefix ?? "") + COMMANDS;
    this.#producer = kafka.producer({
      createPartitioner: Partitioners.DefaultPartitioner,
      idempotent: true,
    });
    this.#replies =
      options.redisUrl === undefined
        ? undefined
        : new ReplyListener(options.redisUrl, options.redisPrefix ?? "");
  }

  /**
   * Connect to Kafka, and to Redis where the options name it; `close` ends both.
   *
   * @throws Error one of them cannot be reached.
   */
  static async connect(options: ClientOptions): Promise<ExecutionClient> {
    const client = new ExecutionClient(options);
    await client.#replies?.listen();
    try {
      await client.#producer.connect();
    } catch (error) {
      await client.close();
      throw error;
    }
    return client;
  }

  async close(): Promise<void> {
    await this.#producer.disconnect();
    await this.#replies?.close();
  }

  /** Send commands in this order; their places, once Kafka has them. */
  async send(...commands: NewCommand[]): Promise<Place[]> {
    return this.#deliver(commands.map((command) => filledIn(command)));
  }

  /**
   * Send a command and wait for its outcome.
   *
   * @throws OutcomeUnknown Kafka has the command and no reply came within `timeout` milliseconds.
   *   Call again with the same `id` to learn the outcome: what was applied is a `duplicate`, and
   *   what was refused is judged again.
   */
  async call(command: NewCommand, { timeout = TIMEOUT } = {}): Promise<Reply> {
    if (!this.#replies) throw new Error("`call` needs the option `redisUrl`.");
    const sent = filledIn(command, this.#replies.name);
    const reply = this.#replies.expect(sent.id, timeout);
    try {
      await this.#deliver([sent]);
      return await reply.outcome;
    } finally {
      reply.forget();
    }
  }

  async #deliver(commands: Command[]): Promise<Place[]> {
    const places: Place[] = [];
    for (const command of commands) {
      const record = { key: keyOf(command), value: JSON.stringify(command) };
      const [place] = await this.#producer.send({ topic: this.#topic, acks: -1, messages: [record] });
      if (place?.baseOffset === undefined) throw new Error("Kafka returned no offset.");
      places.push({ topic: this.#topic, partition: place.partition, offset: place.baseOffset });
    }
    return places;
  }
}

function filledIn(command: NewCommand, replyTo?: string): Command {
  const filled = { id: timeOrderedId(), at: new Date().toISOString(), ...command };
  return (replyTo === undefined ? filled : { ...filled, reply_to: replyTo }) as Command;
}

const keyOf = (command: Command): string =>
  command.type === "kv.set" ? command.user_id : command.graph_exec_id;

interface Expected {
  outcome: Promise<Reply>;
  forget: () => void;
}

/** The reply channel of one client. */
class ReplyListener {
  readonly name = timeOrderedId();
  readonly #channel: string;
  readonly #redis: ReturnType<typeof createClient>;
  readonly #expected = new Map<string, (reply: Reply) => void>();

  constructor(url: string, prefix: string) {
    this.#channel = prefix + REPLIES + this.name;
    this.#redis = createClient({ url });
  }

  async listen(): Promise<void> {
    const refused = new Promise<never>((_, reject) => this.#redis.once("error", reject));
    try {
      await Promise.race([this.#redis.connect(), refused]);
    } catch (error) {
      this.#redis.on("error", () => {}).destroy();
      throw error;
    }
    // From now on it connects again by itself. Replies that it misses are outcomes unknown.
    this.#redis.on("error", () => {});
    await this.#redis.subscribe(this.#channel, (message) => {
      const reply = JSON.parse(message) as Reply;
      this.#expected.get(reply.command_id)?.(reply);
    });
  }

  async close(): Promise<void> {
    await this.#redis.close();
  }

  expect(commandId: string, timeout: number): Expected {
    if (this.#expected.has(commandId))
      throw new Error(`The outcome of command ${commandId} is waited for already.`);
    let timer: NodeJS.Timeout;
    const outcome = new Promise<Reply>((resolve, reject) => {
      this.#expected.set(commandId, resolve);
      timer = setTimeout(() => reject(new OutcomeUnknown(commandId, timeout)), timeout);
    });
    outcome.catch(() => {}); // where Kafka does not take the command, nobody waits for it
    return {
      outcome,
      forget: () => {
        clearTimeout(timer);
        this.#expected.delete(commandId);
      },
    };
  }
}
