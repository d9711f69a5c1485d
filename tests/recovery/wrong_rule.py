"""A worker of a release with a wrong rule: `python -m tests.recovery.wrong_rule ROLE CONFIG`."""

from execstream.streams.statuses import ALLOWED_FROM, ExecutionStatus
from tests.worker import main

if __name__ == "__main__":
    assert isinstance(ALLOWED_FROM, dict)
    ALLOWED_FROM[ExecutionStatus.COMPLETED] |= {ExecutionStatus.QUEUED}
    main()
