/** The client of execstream: `ExecutionClient` sends commands, `follow` reads events. */
export { ExecutionClient } from "./client.js";
export type { ClientOptions, NewCommand, Place } from "./client.js";
export { OutcomeUnknown, StreamRefused } from "./errors.js";
export type * from "./messages/command.js";
export type { Event } from "./messages/event.js";
export type { Reply } from "./messages/reply.js";
export { follow } from "./stream.js";
export type { Frame, StreamOptions } from "./stream.js";
