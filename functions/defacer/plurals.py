"""Numbers and names in sentences."""

LARGEST_SECONDS, LARGEST_MINUTES = 90, 90
# Joins the parts of an emoji, and letters in Persian and in Indian scripts.
JOINERS = "\u200c\u200d"


def pluralize(number: int, what: str) -> str:
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


def resemblance(distance: float | None, strangers: int | None) -> str:
    """Return how much a track looks like a target: "distance 0.91: fewer than 1 in 10,000 strangers looks this alike".

    Without `strangers` it is the distance alone. Without a distance it is empty.
    """
    if distance is None:
        return ""
    words = f"distance {distance:.2f}"
    if strangers is None:
        return words
    number = "fewer than 1" if strangers < 1 else f"about {strangers:,}"
    return f"{words}: {number} in 10,000 strangers look{'s' if strangers <= 1 else ''} this alike"


def printable(text: str) -> str:
    """Return the text with every character spelt out that a terminal obeys, or that changes the writing direction.

    For names that others chose: a line break, an escape sequence or a right-to-left override could make a line look
    like another one.
    """
    return "".join(
        character
        if character.isprintable() or character in JOINERS
        else character.encode("unicode_escape").decode()
        for character in text
    )
