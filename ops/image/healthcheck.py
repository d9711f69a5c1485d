#!/usr/local/bin/python
"""Health check of this container: asks /livez at each port that is open.

Every role answers at a port of its own; a container runs one role or several. Exit code 0 when at
least one answers and none reports a standstill.
"""

import os
import sys
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

PORTS = {"HTTP": 8686, "TALLY": 8687, "APPLY": 8688, "BRIDGE": 8689}
TIMEOUT = 4  # seconds


def main() -> int:
    ports = {os.environ.get(f"EXECSTREAM_{role}_PORT") or port for role, port in PORTS.items()}
    answers = [answer for answer in map(ask, ports) if answer is not None]
    print(*answers or ["nobody answers"], sep="\n")
    return 0 if answers and all(answer.startswith("200 ") for answer in answers) else 1


def ask(port: int | str) -> str | None:
    """Status and body; None when no server listens there."""
    try:
        # A proxy of the environment is not for this machine.
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/livez", timeout=TIMEOUT) as answer:
            return f"{answer.status} {answer.read().decode()}"
    except HTTPError as refused:
        return f"{refused.code} {refused.read().decode()}"
    except URLError as error:
        return None if isinstance(error.reason, ConnectionRefusedError) else str(error)
    except TimeoutError:
        return f"no answer at port {port} within {TIMEOUT} s"


if __name__ == "__main__":
    sys.exit(main())
