"""The plan of faults: the same in every run, limited in number, and without object names."""

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
    Plan,
    read_plan,
)
from defacer_emulator.chaos.subjects import CallClassifier, job_name_of
from defacer_emulator.errors import EmulatorUsageError
from defacer_emulator.resources import Resources

RESOURCES = Resources("defacer-test")
OCCURRENCES = [
    Occurrence(f"worker/{number:05d}", times) for number in range(400) for times in (1, 2, 3, 4, 5)
]


def injected_faults(plan: Plan) -> set[tuple[str, str]]:
    return {
        (fault, str(occurrence))
        for occurrence in OCCURRENCES
        for fault in RATES
        if plan.has_fault(fault, occurrence)
    }


def test_same_seed_injects_the_same_faults() -> None:
    assert injected_faults(Plan(seed=7)) == injected_faults(Plan(seed=7))
    assert injected_faults(Plan(seed=7)) != injected_faults(Plan(seed=8))


def test_each_fault_is_injected_at_about_its_rate() -> None:
    found = injected_faults(Plan(seed=7, rates={"push-twice": 0.5, "kill": 0.1}))

    assert {fault for fault, _ in found} == {"push-twice", "kill"}
    times = 400 * MAX_STRUCK_OCCURRENCES
    assert len([fault for fault, _ in found if fault == "push-twice"]) == pytest.approx(0.5 * times, rel=0.1)
    assert {fault for fault, _ in injected_faults(Plan(seed=7))} == set(RATES)


def test_no_fault_is_injected_after_the_first_occurrences() -> None:
    plan = Plan(seed=7, rates=dict.fromkeys(RATES, 1.0))

    assert plan.has_fault("kill", Occurrence("worker/a", MAX_STRUCK_OCCURRENCES))
    assert not plan.has_fault("kill", Occurrence("worker/a", MAX_STRUCK_OCCURRENCES + 1))


def test_permanent_fault_is_injected_at_every_occurrence() -> None:
    plan = Plan(seed=7, rates={}, always={"kill": ("worker/abc.1/detect-*",)})

    assert plan.has_fault("kill", Occurrence("worker/abc.1/detect-00001", 50))
    assert not plan.has_fault("kill", Occurrence("worker/abc.1/redact-00001", 1))
    assert not plan.has_fault("push-twice", Occurrence("worker/abc.1/detect-00001", 1))


def test_replayed_log_injects_exactly_its_faults(tmp_path: Path) -> None:
    plan = Plan(seed=7)
    log = tmp_path / "chaos.log"
    lines = [{"event": "plan", "plan": plan.model_dump(mode="json", exclude={"replayed"})}]
    lines += [{"event": "fault", "fault": "kill", "at": "worker/00001#2"}, {"event": "retry", "at": "x#1"}]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    replay = read_plan(str(log))

    assert injected_faults(replay) == {("kill", "worker/00001#2")}
    occurrence = Occurrence("worker/00001", 2)
    assert replay.random_share("kill", occurrence, "how") == plan.random_share("kill", occurrence, "how")


def test_plan_is_read_from_a_seed_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"seed": 3, "rates": {"kill": 1}}')

    assert read_plan("12") == Plan(seed=12)
    assert read_plan(str(file)) == Plan(seed=3, rates={"kill": 1.0})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read"),
        ('{"seed": 1, "rates": {"earthquake": 1}}', "the fault 'earthquake' is unknown"),
        ('{"seed": 1, "rates": {"kill": 2}}', "rates.kill"),
        ("seed = 1", "is not a valid plan of faults"),
        ('{"event": "fault"}\n', "neither a plan of faults nor a chaos.log"),
    ],
)
def test_invalid_plan_is_rejected_with_the_reason(content: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(EmulatorUsageError, match=message):
        read_plan(str(file))


def create_upload(name: str, generation: int) -> tuple[str, bytes]:
    """Return the job of an upload, and the push that announces it."""
    attributes = {"bucketId": RESOURCES.intake, "objectId": name, "objectGeneration": str(generation)}
    body = json.dumps({"message": {"attributes": attributes, "data": ""}}).encode()
    return object_names.job_id(RESOURCES.intake, name, generation), body


def task_push(job: str) -> bytes:
    data = json.dumps({"job": job, "index": 3, "step": "detect"}).encode()
    return json.dumps({"message": {"data": base64.b64encode(data).decode()}}).encode()


def test_job_name_is_the_same_in_every_run() -> None:
    name = "channels/vlog/videos/secret party.mp4"
    runs = []
    for generation in (1_700_000_000_000_000, 1_800_000_000_000_000):
        classifier = CallClassifier(RESOURCES)
        job, announced = create_upload(name, generation)
        path = f"/storage/v1/b/{RESOURCES.work}/o/jobs%2F{job}%2Fsegments%2F00003-0123456789abcdef.nut"
        call = classifier.parse_call(Request("DELETE", path, (), b"", 0))
        runs.append(
            [
                classifier.classify_push("ingest", announced).name,
                classifier.classify_push("worker", task_push(job)).name,
                classifier.classify_call(call).name,
            ]
        )

    job_name = job_name_of("vlog", "secret party.mp4")
    assert runs[0] == [
        f"ingest/{job_name}/upload",
        f"worker/{job_name}/detect-00003",
        f"storage/delete/{job_name}/segments/00003.nut",
    ]
    assert runs[1] == runs[0]
    assert "secret" not in str(runs)


def test_second_upload_with_the_same_name_is_another_subject() -> None:
    classifier = CallClassifier(RESOURCES)
    first, second = (create_upload("channels/vlog/videos/a.mp4", generation)[1] for generation in (1, 2))

    pushed = [classifier.classify_push("ingest", body).name for body in (first, second, first)]

    assert pushed == [f"ingest/{job_name_of('vlog', 'a.mp4', number)}/upload" for number in (1, 2, 1)]
