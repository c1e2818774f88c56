"""Numbers in sentences."""

LARGEST_SECONDS, LARGEST_MINUTES = 90, 90


def counted(number: int, what: str) -> str:
    """The number with its noun: "1 job", "2 jobs"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share as a whole percentage: "41 %". Only 1 is 100 %."""
    return f"{int(100 * share)} %"


def about(seconds: float) -> str:
    """Return roughly how long something takes: "about 40 seconds", "about 3 hours"."""
    if seconds < LARGEST_SECONDS:
        return f"about {max(5, 5 * round(seconds / 5))} seconds"
    minutes = round(seconds / 60)
    return f"about {minutes} minutes" if minutes < LARGEST_MINUTES else f"about {round(minutes / 60)} hours"
