import math

import pytest

from det2lite.utils.durations import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00:00"),
        (59.99, "0:00:59"),
        (184, "0:03:04"),
        (86399, "23:59:59"),
        (86400, "1d 00:00:00"),
        (93784.7, "1d 02:03:04"),
        (-61, "-0:01:01"),
        (math.nan, "?"),
        (math.inf, "?"),
    ],
)
def test_times_read_as_days_hours_minutes_seconds(seconds, text):
    assert format_duration(seconds) == text
