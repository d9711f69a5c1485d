// The work that a view starts ends with it: all of it hangs on the signal of the view's AbortController.

/** Call `work` now and every `pause` milliseconds, not while the tab is hidden, never twice at once. */
export function every(pause, signal, work) {
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

/** `work` at most once per `pause` milliseconds, the first time at once, the last call never lost. */
export function throttled(pause, signal, work) {
  let timer = null;
  let isDue = false;
  const run = () => {
    timer = null;
    if (!isDue || signal.aborted) return;
    isDue = false;
    work();
    timer = setTimeout(run, pause);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    isDue = true;
    if (timer === null) timer = setTimeout(run, 0);
  };
}
