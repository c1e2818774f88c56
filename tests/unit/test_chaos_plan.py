"""Which fault strikes where: the same in every run, a bounded number of times, and no name in it."""

import base64
import json
from pathlib import Path

import pytest

from defacer.pipeline.storage import object_names
from defacer_emulator.chaos.http import Request
from defacer_emulator.chaos.plan import (
    MAX_STRUCK_OCCURRENCES,
    RATES,
    Occurrence,
    OccurrenceCounter,
    Plan,
    read_plan,
)
from defacer_emulator.chaos.subjects import CallClassifier, job_name_of
from defacer_emulator.errors import UsageError
from defacer_emulator.resources import Resources

RESOURCES = Resources("defacer-test")
OCCURRENCES = [
    Occurrence(f"worker/{number:05d}", times) for number in range(400) for times in (1, 2, 3, 4, 5)
]


def struck(plan: Plan) -> set[tuple[str, str]]:
    return {
        (fault, str(occurrence))
        for occurrence in OCCURRENCES
        for fault in RATES
        if plan.has_fault(fault, occurrence)
    }


def test_a_seed_strikes_the_same_in_every_run_and_another_one_elsewhere() -> None:
    assert struck(Plan(seed=7)) == struck(Plan(seed=7))
    assert struck(Plan(seed=7)) != struck(Plan(seed=8))


def test_every_fault_strikes_and_about_as_often_as_its_rate_says() -> None:
    found = struck(Plan(seed=7, rates={"push-twice": 0.5, "kill": 0.1}))

    assert {fault for fault, _ in found} == {"push-twice", "kill"}
    times = 400 * MAX_STRUCK_OCCURRENCES
    assert len([fault for fault, _ in found if fault == "push-twice"]) == pytest.approx(0.5 * times, rel=0.1)
    assert {fault for fault, _ in struck(Plan(seed=7))} == set(RATES)


def test_nothing_is_struck_any_more_after_its_first_times() -> None:
    plan = Plan(seed=7, rates=dict.fromkeys(RATES, 1.0))

    assert plan.has_fault("kill", Occurrence("worker/a", MAX_STRUCK_OCCURRENCES))
    assert not plan.has_fault("kill", Occurrence("worker/a", MAX_STRUCK_OCCURRENCES + 1))


def test_what_is_always_struck_is_struck_each_time_and_nothing_else() -> None:
    plan = Plan(seed=7, rates={}, always={"kill": ("worker/abc.1/detect-*",)})

    assert plan.has_fault("kill", Occurrence("worker/abc.1/detect-00001", 50))
    assert not plan.has_fault("kill", Occurrence("worker/abc.1/redact-00001", 1))
    assert not plan.has_fault("push-twice", Occurrence("worker/abc.1/detect-00001", 1))


def test_a_thing_is_counted_by_itself() -> None:
    counter = OccurrenceCounter()
    assert [str(counter.next(name)) for name in ("a", "b", "a")] == ["a#1", "b#1", "a#2"]


def test_the_log_of_a_run_strikes_what_was_struck_then_and_nothing_else(tmp_path: Path) -> None:
    plan = Plan(seed=7)
    log = tmp_path / "chaos.log"
    lines = [{"event": "plan", "plan": plan.model_dump(mode="json", exclude={"replayed"})}]
    lines += [{"event": "fault", "fault": "kill", "at": "worker/00001#2"}, {"event": "retry", "at": "x#1"}]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    replay = read_plan(str(log))

    assert struck(replay) == {("kill", "worker/00001#2")}
    occurrence = Occurrence("worker/00001", 2)
    assert replay.random_share("kill", occurrence, "how") == plan.random_share("kill", occurrence, "how")


def test_a_number_is_a_seed_and_a_file_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"seed": 3, "rates": {"kill": 1}}')

    assert read_plan("12") == Plan(seed=12)
    assert read_plan(str(file)) == Plan(seed=3, rates={"kill": 1.0})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read"),
        ('{"seed": 1, "rates": {"earthquake": 1}}', "there is no fault 'earthquake'"),
        ('{"seed": 1, "rates": {"kill": 2}}', "rates.kill"),
        ("seed = 1", "is not a valid plan of faults"),
        ('{"event": "fault"}\n', "neither a plan of faults nor a chaos.log"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(content: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(UsageError, match=said):
        read_plan(str(file))


def upload(name: str, generation: int) -> tuple[str, bytes]:
    """The job of an upload, and the push that announces it."""
    attributes = {"bucketId": RESOURCES.intake, "objectId": name, "objectGeneration": str(generation)}
    body = json.dumps({"message": {"attributes": attributes, "data": ""}}).encode()
    return object_names.job_id(RESOURCES.intake, name, generation), body


def task(job: str) -> bytes:
    data = json.dumps({"job": job, "index": 3, "step": "detect"}).encode()
    return json.dumps({"message": {"data": base64.b64encode(data).decode()}}).encode()


def test_a_job_is_called_the_same_in_every_run_though_its_id_differs() -> None:
    name = "channels/vlog/videos/secret party.mp4"
    called = []
    for generation in (1_700_000_000_000_000, 1_800_000_000_000_000):
        classifier = CallClassifier(RESOURCES)
        job, announced = upload(name, generation)
        path = f"/storage/v1/b/{RESOURCES.work}/o/jobs%2F{job}%2Fsegments%2F00003-0123456789abcdef.nut"
        call = classifier.parse_call(Request("DELETE", path, (), b"", 0))
        called.append(
            [
                classifier.classify_push("ingest", announced).name,
                classifier.classify_push("worker", task(job)).name,
                classifier.classify_call(call).name,
            ]
        )

    subject = job_name_of("vlog", "secret party.mp4")
    assert called[0] == [
        f"ingest/{subject}/upload",
        f"worker/{subject}/detect-00003",
        f"storage/delete/{subject}/segments/00003.nut",
    ]
    assert called[1] == called[0]
    assert "secret" not in str(called)


def test_a_second_upload_of_a_name_is_another_thing() -> None:
    classifier = CallClassifier(RESOURCES)
    first, second = (upload("channels/vlog/videos/a.mp4", generation)[1] for generation in (1, 2))

    pushed = [classifier.classify_push("ingest", body).name for body in (first, second, first)]

    assert pushed == [f"ingest/{job_name_of('vlog', 'a.mp4', number)}/upload" for number in (1, 2, 1)]
