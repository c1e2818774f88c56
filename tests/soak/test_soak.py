"""The short form of the soak: a dozen jobs under faults of all kinds; and that its measure can tell a leak."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from defacer.pipeline.documents.job_records import Failed
from defacer_emulator.chaos.plan import RATES, Plan
from tests.soak import judging
from tests.soak.clips import Sort, make_sorts
from tests.soak.jobs import Job
from tests.soak.soak import Outcome, Soak, run
from tests.soak.table import table

pytestmark = pytest.mark.slow

JOBS, SEED, MINUTES = 12, 11, 2.0
# So that a dozen jobs meet most of them.
MORE_OFTEN = 1.2


@pytest.fixture(scope="module")
def sorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sort]:
    return {sort.name: sort for sort in make_sorts(tmp_path_factory.mktemp("clips"))}


def test_a_dozen_jobs_under_all_faults_end_once_each_and_none_leaks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(seed=SEED, rates={fault: rate * MORE_OFTEN for fault, rate in RATES.items()})

    outcome = run(Soak(plan, JOBS, MINUTES, tmp_path))

    with capsys.disabled():
        print(f"\n{table(outcome)}")
    assert len(outcome.jobs) == JOBS
    assert (outcome.lost, outcome.duplicated, outcome.leaked) == ([], [], [])
    assert outcome.good
    assert outcome.failed_though_healthy == []
    struck = set(outcome.told.faults)
    assert {fault.partition("-")[0] for fault in struck} >= {"storage", "push", "publish", "kill"}
    assert len(struck) >= len(RATES) * 2 // 3


def test_a_video_that_nothing_was_done_to_leaks_every_face(sorts: dict[str, Sort]) -> None:
    for name, faces in (("everyone", 48), ("target", 24), ("walk", 36), ("one", 12)):
        assert judging.leaked(sorts[name], sorts[name].video.read_bytes()) == faces


def test_a_face_that_is_half_covered_or_coarse_leaks_and_one_that_is_flat_does_not(
    sorts: dict[str, Sort],
) -> None:
    sort = sorts["one"]
    face = sort.faces[0]
    picture = next(iter(judging.pictures(sort.video)))
    top, left, bottom, right = (round(length) for length in (face.y1, face.x1, face.y2, face.x2))

    half, flat = picture.copy(), picture.copy()
    half[(top + bottom) // 2 : bottom, left:right] = 0
    flat[top:bottom, left:right] = cv2.GaussianBlur(flat[top:bottom, left:right], (0, 0), (right - left) / 4)
    noisy = np.clip(picture.astype(int) + np.random.default_rng(1).integers(-6, 7, picture.shape), 0, 255)

    assert judging.likeness(picture, picture, face) == pytest.approx(1)
    assert judging.likeness(picture, noisy.astype(np.uint8), face) > judging.SEEN_CORRELATION
    assert judging.likeness(picture, half, face) > judging.SEEN_CORRELATION
    assert judging.likeness(picture, flat, face) < judging.SEEN_CORRELATION


def test_a_frame_a_time_or_a_sound_that_is_missing_is_noticed(sorts: dict[str, Sort]) -> None:
    two, walk = sorts["everyone"].video, sorts["walk"].video

    assert judging.changed(two, two.read_bytes()) is None
    assert "frames" in str(judging.changed(two, walk.read_bytes()))


def test_what_went_wrong_is_in_the_table_and_makes_the_soak_no_good(sorts: dict[str, Sort]) -> None:
    done, lost, leaks, fails = (
        Job(sorts["one"], f"job-{number}", "", dropped=0.0, ended=ended, segments=1)
        for number, ended in enumerate((2.0, None, 2.0, 2.0))
    )
    leaks.leaked = 3
    fails.failed = Failed(job="0" * 20, source=None, stage="worker", code="gave-up", message="It gave up.")
    outcome = Outcome([done, lost, leaks, fails], lost=[lost], duplicated=[done], wanted=4)

    printed = dict(line.split("  ", 1) for line in table(outcome).splitlines() if not line.startswith(" "))

    assert not outcome.good
    assert {name: printed[name].strip() for name in ("published once", "failed with reason", "lost")} == {
        "published once": "1",
        "failed with reason": "1, 1 gave-up",
        "lost": "1  job-1",
    }
    assert printed["duplicated"].strip() == "1  job-0"
    assert printed["leaked"].strip() == "1  job-2"
    assert Outcome([leaks]).good is False
    assert Outcome([Job(sorts["text"], "x", "", dropped=0.0, ended=1.0)]).good is False, "it had to fail"
    assert Outcome([Job(sorts["one"], "x", "", dropped=0.0, ended=1.0)]).good is True
