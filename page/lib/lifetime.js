// The work that a view starts ends with it: all of it hangs on the signal of the view's AbortController.

/**
 * Call `work` now and every `pause` milliseconds, not while the tab is hidden, never twice at once.
 *
 * @param {number} pause
 * @param {AbortSignal} signal
 * @param {() => unknown} work
 */
export function every(pause, signal, work) {
  /** @type {number | undefined} */
  let timer;
  let isWorking = false;
  const turn = async () => {
    clearTimeout(timer);
    if (isWorking) return;
    isWorking = true;
    try {
      if (!document.hidden) await work();
    } finally {
      isWorking = false;
      if (!signal.aborted) timer = setTimeout(turn, pause);
    }
  };
  document.addEventListener("visibilitychange", turn, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  return turn();
}

/**
 * `work` at most once per `pause` milliseconds, the first time at once, the last call never lost.
 *
 * @param {number} pause
 * @param {AbortSignal} signal
 * @param {() => void} work
 */
export function throttled(pause, signal, work) {
  /** @type {number | undefined} */
  let timer;
  let isDue = false;
  const run = () => {
    timer = undefined;
    if (!isDue || signal.aborted) return;
    isDue = false;
    work();
    timer = setTimeout(run, pause);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    isDue = true;
    timer ??= setTimeout(run, 0);
  };
}
