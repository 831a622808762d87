"""Times as people read them."""

import math

__all__ = ["format_duration"]


def format_duration(seconds: float) -> str:
    """Seconds as `0:03:04` (hours, minutes, seconds), from one day on as `1d 02:03:04`; `?` where not finite."""
    if not math.isfinite(seconds):
        return "?"
    sign = "-" if seconds < 0 else ""
    minutes, seconds = divmod(int(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{minutes:02d}:{seconds:02d}"
    return f"{sign}{days}d {hours:02d}:{clock}" if days else f"{sign}{hours}:{clock}"
