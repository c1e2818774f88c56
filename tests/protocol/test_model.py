"""A short model check, and proof that it detects bugs."""

import pytest

from tests.protocol.model import check
from tests.protocol.mutations import MUTATIONS

INTERLEAVINGS = 150
MAX_INTERLEAVINGS = 1000  # until a bug is detected; most are within fifty


def test_interleavings_keep_all_promises() -> None:
    for seed in range(INTERLEAVINGS):
        outcome = check(seed)
        assert outcome.violations == [], f"seed {seed}: {outcome.violations}\n{outcome.trace}"


def test_same_seed_gives_the_same_interleaving() -> None:
    first, second = check(7), check(7)
    assert (first.digest, first.steps, first.published) == (second.digest, second.steps, second.published)
    assert first.digest != check(8).digest


# These bugs need a second or more. The other bugs show in every run that the check is able to fail.
SLOW = {
    "clock calls no upload",
    "confirmed job is not dispatched again",
    "copy ignores its precondition",
    "equal bytes count as the own write",
    "erasure lists published objects only once",
    "late copy stays published",
    "faces are overwritten",
    "finished segment of a dead worker has no next task",
    "manifest is overwritten",
    "manifest of a forgotten person stays",
    "merge dispatches the faces that it wrote",
    "published json ignores a changed verdict",
    "publishing errors are ignored",
    "rollback keeps the made result",
    "state is not read before a re-render is planned",
    "state is not read before detection",
    "steps are marked after the cleanup",
    "verdict is overwritten",
}


@pytest.mark.parametrize(
    "bug", [pytest.param(bug, marks=[pytest.mark.slow] if bug in SLOW else []) for bug in MUTATIONS]
)
def test_bug_in_the_functions_is_detected(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation, aim = MUTATIONS[bug]
    mutation(monkeypatch)
    assert any(check(seed, aim).violations for seed in range(MAX_INTERLEAVINGS)), (
        f"not detected in {MAX_INTERLEAVINGS} interleavings"
    )
