"""`forget` removes the name from failures too, and matches names in NFC and NFD."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from defacer.commands.app import main
from defacer.ingest.engine_adapter import IngestEngine
from defacer.ingest.plan_job import plan_upload_job
from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Failed, Verdict
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.lifecycle import failure, job_state
from defacer.pipeline.storage import object_names
from tests.cloud import Buckets, Post, Topics, upload_push
from tests.functions.test_forget import FORGET, PICTURE, WHITE, everything, publish
from tests.media_engines import with_operations
from tests.planned import VIDEO, plan_job


def refuse_picture(buckets: Buckets, clip: Path) -> ObjectRef:
    """Upload a video whose job fails because Eileen's picture is invalid, and return the video."""
    buckets.put(buckets.intake, PICTURE, b"no picture")
    source = buckets.put(buckets.intake, VIDEO, clip)
    plan_upload_job(source, with_operations(IngestEngine(), require_replacement=lambda ref: None))
    return source


def test_failure_about_a_picture_loses_the_name(buckets: Buckets, topics: Topics, clip: Path) -> None:
    """The job has no manifest, only its failure."""
    source = refuse_picture(buckets, clip)
    failed = object_names.failed(object_names.job_of(source))
    before = buckets.blob(buckets.work, failed)
    assert object_names.owner_name(PICTURE) in Failed.model_validate_json(before.download_as_bytes()).message
    assert main(["person", "forget", "Eil", "--channel", "street", "--yes"]) == 1
    assert main(["person", "forget", "Eileen", "--channel", "other", "--yes"]) == 1
    assert buckets.blob(buckets.work, failed).generation == before.generation
    assert main([*FORGET]) == 0
    assert "Eileen" not in everything(buckets)
    after = Failed.model_validate_json(buckets.get(buckets.work, failed))
    assert (after.code, after.source) == ("bad-picture", source)
    assert "walk.mp4 was not published" in after.message
    assert buckets.blob(buckets.work, failed).metadata == before.metadata
    assert len(topics.events()) == 1


def test_unannounced_failure_is_announced_without_the_name(
    buckets: Buckets, topics: Topics, clip: Path, ingest: Post
) -> None:
    """The process that failed the job died after the verdict, or before it published the event."""
    buckets.put(buckets.intake, PICTURE, b"a picture")
    message = f"gs://{buckets.intake}/{PICTURE} shows no face"
    condemned = plan_job(buckets, clip, targets=("Eileen",))
    untold = buckets.put(buckets.intake, "channels/street/videos/run.mp4", clip)
    for job, name in (
        (condemned.job, object_names.verdict),
        (object_names.job_of(untold), object_names.failed),
    ):
        source = condemned.manifest.source if job == condemned.job else untold
        failed = Failed(job=job, source=source, stage="ingest", code=ErrorCode.BAD_TARGET, message=message)
        said = Verdict(job=job, state="failing", failed=failed) if name is object_names.verdict else failed
        buckets.put(buckets.work, name(job), said.model_dump_json().encode())
    assert main([*FORGET]) == 0
    assert ingest(upload_push(untold)) == 200
    assert "Eileen" not in everything(buckets)
    told = {event["data"]["source"]["name"]: event["data"]["message"] for event in topics.events()}
    assert set(told) == {VIDEO, untold.name}
    assert not [said for said in told.values() if "Eileen" in said]


@pytest.mark.parametrize(
    "told", ["gs://intake/channels/street/targets/", "targets/"]
)  # until 2026-11, and since
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_forget_finds_names_in_nfc_and_nfd(
    form: Literal["NFC", "NFD"], told: str, buckets: Buckets, topics: Topics, clip: Path, merge: Post
) -> None:
    """A Mac stores an accent as its own character, and a keyboard types both as one."""
    stored = unicodedata.normalize(form, "Zoë")
    typed = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "Zoë")
    assert stored != typed
    buckets.put(buckets.intake, f"channels/street/targets/{stored}.png", b"a picture")
    buckets.put(buckets.intake, f"channels/street/targets/{stored}/1.png", b"a picture")
    publish(buckets, plan_job(buckets, clip, policy=WHITE, targets=(stored, "Grace")), merge, stored, None)
    refused = buckets.put(buckets.intake, "channels/street/videos/run.mp4", clip)
    message = f"{told}{stored}/1.png shows no face"
    failure.fail_job(
        object_names.job_of(refused),
        "ingest",
        PermanentError("bad-target", message),
        refused,
    )
    assert main(["person", "forget", typed, "--channel", "street", "--yes", "--rerender"]) == 0
    assert stored not in everything(buckets)
    assert typed not in everything(buckets)
    assert "Grace" in everything(buckets)


@pytest.mark.parametrize("name", [object_names.manifest, object_names.failed, object_names.verdict])
def test_unreadable_job_is_reported_and_others_are_processed(
    name: Callable[[str], str],
    buckets: Buckets,
    topics: Topics,
    clip: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    buckets.put(buckets.intake, PICTURE, b"a picture")
    broken, healthy = "0" * 20, plan_job(buckets, clip, targets=("Eileen",))
    buckets.put(buckets.work, name(broken), b"{nothing that can be read")
    assert main([*FORGET]) == 1
    assert f"unreadable job {broken}" in capsys.readouterr().out
    assert job_state.read_job(healthy.job).has_failed
    assert PICTURE not in buckets.names(buckets.intake)
    assert main(["job", "erase", broken, "--yes"]) == 0
    capsys.readouterr()
    assert main([*FORGET]) == 1
    assert "Nothing of Eileen is stored" in capsys.readouterr().out
