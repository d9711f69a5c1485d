/** Kafka has the command, and no reply came in time. */
export class OutcomeUnknown extends Error {
  constructor(
    readonly commandId: string,
    readonly timeout: number,
  ) {
    super(`No reply to command ${commandId} came within ${timeout} ms.`);
    this.name = "OutcomeUnknown";
  }
}

/** The server refused the stream; `status` is that of HTTP. */
export class StreamRefused extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
    this.name = "StreamRefused";
  }
}
