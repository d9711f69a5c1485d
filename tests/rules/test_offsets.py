"""Points in the topics, as people write them."""

from datetime import UTC, datetime

import pytest

from execstream.recovery.replay.offset_points import NoPoint, Point, parse_point


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("earliest", {}),
        ("0:0", {0: 0}),
        ("0:1200,7:950", {0: 1200, 7: 950}),
        ("0:-20,1:5", {0: -20, 1: 5}),
        ("2026-03-01T06:30:00Z", datetime(2026, 3, 1, 6, 30, tzinfo=UTC)),
        ("2026-03-01T06:30:00+01:00", datetime(2026, 3, 1, 5, 30, tzinfo=UTC)),
    ],
)
def test_a_point(text: str, point: Point) -> None:
    assert parse_point(text) == point


@pytest.mark.parametrize(
    "text", ["", "latest", "0", "0:", "0:--1", "0:1,", "a:1", "2026-03-01", "2026-03-01T06:30:00"]
)
def test_no_point(text: str) -> None:
    """Any other text is refused in a sentence that repeats it."""
    with pytest.raises(NoPoint, match="neither"):
        parse_point(text)
