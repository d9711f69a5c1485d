"""Commands of the program, one after the other in one process: `python -m tests.planted_console`.

Each line on stdin is the arguments of a command, as a JSON list; each line on stdout is
`[exit code, stdout, stderr]`. A process for each command would take ten times as long.
"""

import io
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout

from execstream.cli import main
from execstream.storage import unreadable_rows


def run(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run `execstream` with `arguments`, as a process of its own would."""
    unreadable_rows.noted.clear()
    sys.argv = ["execstream", *arguments]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    if isinstance(code, str):
        err.write(code)
        code = 1
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
