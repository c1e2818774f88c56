"""Format numbers and names in sentences."""

MAX_SECONDS, MAX_MINUTES = 90, 90
# They join the parts of an emoji, and letters of Persian and of Indian scripts.
JOINERS = "\u200c\u200d"


def pluralize(number: int, noun: str) -> str:
    """Return the number with its noun: "1 job", "2 jobs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share as a whole percentage: "41 %". Only 1 is 100 %."""
    return f"{int(100 * share)} %"


def about(seconds: float) -> str:
    """Return roughly how long something takes: "about 40 seconds", "about 3 hours"."""
    if seconds < MAX_SECONDS:
        return f"about {max(5, 5 * round(seconds / 5))} seconds"
    minutes = round(seconds / 60)
    return f"about {minutes} minutes" if minutes < MAX_MINUTES else f"about {round(minutes / 60)} hours"


def resemblance(distance: float | None, strangers: int | None) -> str:
    """Return how much a track looks like a target.

    For example: "distance 0.91: fewer than 1 in 10,000 strangers looks this similar". Without `strangers` it is the
    distance alone. Without a distance it is empty.
    """
    if distance is None:
        return ""
    words = f"distance {distance:.2f}"
    if strangers is None:
        return words
    number = "fewer than 1" if strangers < 1 else f"about {strangers:,}"
    return f"{words}: {number} in 10,000 strangers look{'s' if strangers <= 1 else ''} this similar"


def printable(text: str) -> str:
    """Escape control characters and characters that change the writing direction.

    A name that someone else chose might contain a line break, an escape sequence or a right-to-left override, with
    which one line of a terminal or log looks like another one.
    """
    return "".join(
        character
        if character.isprintable() or character in JOINERS
        else character.encode("unicode_escape").decode()
        for character in text
    )
