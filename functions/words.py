"""Numbers in sentences."""


def counted(number: int, what: str) -> str:
    """The number with its noun: "1 job", "2 jobs"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
