// The statuses and the transition table, as in streams/statuses.py (a test compares them).

export const STATUSES = [
  "INCOMPLETE",
  "QUEUED",
  "RUNNING",
  "COMPLETED",
  "TERMINATED",
  "FAILED",
  "REVIEW",
];

/** Read a row as "to become X it must now be one of …". */
export const ALLOWED_FROM = {
  INCOMPLETE: [],
  QUEUED: ["INCOMPLETE", "TERMINATED", "REVIEW"],
  RUNNING: ["INCOMPLETE", "QUEUED", "TERMINATED", "REVIEW"],
  COMPLETED: ["RUNNING"],
  FAILED: ["INCOMPLETE", "QUEUED", "RUNNING", "REVIEW"],
  TERMINATED: ["INCOMPLETE", "QUEUED", "RUNNING", "REVIEW"],
  REVIEW: ["RUNNING"],
};

/** As people read them. */
export const LABELS = {
  __proto__: null, // the status found may have any name
  INCOMPLETE: "Incomplete",
  QUEUED: "Queued",
  RUNNING: "Running",
  COMPLETED: "Completed",
  TERMINATED: "Terminated",
  FAILED: "Failed",
  REVIEW: "In review",
};

export const isAllowed = (was, to) => ALLOWED_FROM[to].includes(was);

export const isEnded = (status) => ["COMPLETED", "TERMINATED", "FAILED"].includes(status);
