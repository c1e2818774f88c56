"""The state diagram of a job, from the rows of the table that `tests/protocol/test_transitions.py` reads."""

from defacer.pipeline.lifecycle.job_state import JobState
from tests.protocol.transitions import ERASED, SEGMENT, SPLIT, UNCOMMITTED, page_rows

# A job changes its state when its last segment does.
BEFORE_LAST_SEGMENT = {JobState.DETECTED: JobState.PLANNED, JobState.REDACTED: JobState.REDACTING}
WITHOUT_VERDICT = (*BEFORE_LAST_SEGMENT, *BEFORE_LAST_SEGMENT.values(), JobState.UPLOADED, JobState.LINKED)


def state_diagram() -> str:
    """Return the transitions of a job as a Mermaid diagram, with the functions that make each of them."""
    arrows: dict[tuple[str, str], set[str]] = {}
    for row in page_rows():
        before, after = row.transition
        if before == SEGMENT and after != SPLIT:
            arrows[BEFORE_LAST_SEGMENT[JobState(after)], after] = {"worker"}
        elif before != SEGMENT:
            arrows.setdefault((before, after), set()).update(row.functions)
    inner = {arrow: makers for arrow, makers in arrows.items() if set(arrow) <= set(WITHOUT_VERDICT)}
    outer = {arrow: makers for arrow, makers in arrows.items() if arrow not in inner}
    lines = [
        "stateDiagram-v2",
        f"    state {UNCOMMITTED} {{",
        "        [*] --> uploaded",
        *(f"        {_arrow(*arrow, makers)}" for arrow, makers in inner.items()),
        "    }",
        *(f"    {_arrow(*arrow, makers)}" for arrow, makers in outer.items()),
        "    finalized --> [*]",
        "    announced --> [*]",
        f"    {ERASED} --> [*]",
    ]
    return "```mermaid\n" + "\n".join(lines) + "\n```\n"


def _arrow(before: str, after: str, makers: set[str]) -> str:
    return f"{before} --> {after}: {', '.join(sorted(makers))}"
