"""The short form of the model check, and that it would see what it is there to see."""

import pytest

from tests.protocol.model import check
from tests.protocol.mutations import MUTATIONS

INTERLEAVINGS = 300
MOST = 1000  # for a bug to show; most do within fifty


def test_no_interleaving_breaks_a_promise() -> None:
    for seed in range(INTERLEAVINGS):
        outcome = check(seed)
        assert outcome.violations == [], f"seed {seed}: {outcome.violations}\n{outcome.trace}"


def test_the_same_seed_is_the_same_interleaving() -> None:
    first, second = check(7), check(7)
    assert (first.digest, first.steps, first.published) == (second.digest, second.steps, second.published)
    assert first.digest != check(8).digest


@pytest.mark.parametrize("bug", MUTATIONS)
def test_a_bug_in_the_functions_is_seen(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation, aim = MUTATIONS[bug]
    mutation(monkeypatch)
    assert any(check(seed, aim).violations for seed in range(MOST)), f"not seen in {MOST} interleavings"
