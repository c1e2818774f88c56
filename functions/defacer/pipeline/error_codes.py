"""Every code that a failed job can have, and whether trying the same video again can help.

It can where the fault was not the video's: a passing fault, or something beside the video that its owner can correct.
"""

_INPUT = dict.fromkeys(
    ("not-a-video", "bad-name", "too-large", "too-long", "too-many-faces", "too-slow", "source-gone"), False
)
_BESIDE_THE_VIDEO = dict.fromkeys(
    (
        "bad-policy",
        "missing-package",
        "bad-picture",
        "bad-target",
        "bad-replacement",
        "no-replacement",
        "too-many-targets",
        "target-gone",
        "person-forgotten",
        "quarantined",
    ),
    True,
)
_REQUEST = {
    "bad-request": False,
    "bad-decisions": False,
    "request-gone": False,
    "not-published": False,
    "result-changed": False,
    "report-gone": True,
}
_PIPELINE = {
    "gave-up": True,
    "poison-segment": True,
    "object-gone": True,
    "bad-object": True,
    "check-failed": True,
    "engine": True,
    "output": True,
    "weights": True,
    "unreadable": True,
    "gpu": False,
    "result-exists": False,
    "internal-error": False,
    "erased": False,
}
CAN_TRY_AGAIN = {**_INPUT, **_BESIDE_THE_VIDEO, **_REQUEST, **_PIPELINE}


def can_try_again(code: str) -> bool:
    """Return whether trying again can help after a failure with this code; False for an unknown one."""
    return CAN_TRY_AGAIN.get(code, False)
