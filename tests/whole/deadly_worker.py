"""A worker that is killed, as if for lack of memory, by a record with `deadly` in it:
`python -m tests.whole.deadly_worker`, with the arguments of `tests.worker`.

Processes that it starts import this module too, and are killed likewise.
"""

import os
import signal
from typing import Any

from execstream.agents.apply import batch_fold
from execstream.streams.decoding import decode
from tests.worker import main


def _decode(key: bytes | None, value: bytes | None, *limits: Any) -> Any:
    if b"deadly" in (value or b""):
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(key, value, *limits)


vars(batch_fold)["decode"] = _decode

if __name__ == "__main__":
    main()
