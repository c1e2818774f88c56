"""Erasing and forgetting on the emulator, and the privacy of its logs: they name and show no one."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from google.pubsub_v1.types import PubsubMessage

from defacer.pipeline.documents.report import JobReport
from defacer.pipeline.storage import object_names
from defacer.pipeline.topology import FUNCTIONS, SEGMENTS, SEGMENTS_DONE, UPLOADS, WEBHOOK
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.emulator import Receiver as WebhookOptions
from defacer_emulator.services import messaging
from tests.clips import Clip, admiral, encode_picture, write_clip
from tests.clips import astronaut as portrait
from tests.inputs import write_video
from tests.pipeline.conftest import NOISE, VARIABLES, WEBHOOK_SECRET, Pipeline
from tests.receiver import Receiver
from tests.servers import DEFACER, ROOT, wait_until

# Not a part of any word in this code, so a hit comes from the name of an object or person, or from a video.
MARK = "zq7"
DEBUG = (*VARIABLES, ("DEFACER_LOG_LEVEL", "DEBUG"), ("GUNICORN_LOG_LEVEL", "debug"))
NUMBERS = re.compile(r"(-?\d+\.\d+[\s,]+){8}")
ENCODED = re.compile(r"[A-Za-z0-9+/]{120}")


@pytest.fixture(scope="module")
def emulator(webhook: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("emulator")
    receiver = WebhookOptions(webhook.address, WEBHOOK_SECRET)
    with Emulator(EmulatorOptions(folder, "builtin", variables=DEBUG, receiver=receiver)) as running:
        yield running
        for name, log in running.log_files():  # printed if a test of this module fails
            sys.stderr.write(f"---- {name}\n{log.read_text(errors='replace')}\n")


def run_command(pipeline: Pipeline, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the emulator, as in a terminal, with the log level DEBUG."""
    state = ("--dir", str(pipeline.emulator.folder.path))
    return subprocess.run(
        [*DEFACER, *arguments, *state],
        cwd=ROOT,
        env={**os.environ, **dict(DEBUG)},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )


def list_left(pipeline: Pipeline, channel: str) -> list[str]:
    buckets = (pipeline.emulator.intake, pipeline.emulator.output)
    return [name for bucket in buckets for name in pipeline.list_names(bucket, f"channels/{channel}/")]


@pytest.mark.parametrize("kind", ["job", "channel"])
def test_erased_job_or_channel_leaves_only_its_mark(kind: str, pipeline: Pipeline, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=1))
    ended = pipeline.upload(video, "--channel", "erased", "--mode", "solid", "--wait")
    assert ended.code == 0, ended.errors
    subject = ended.job if kind == "job" else "channels/erased"

    asked = run_command(pipeline, "job", "erase", subject)
    done = pipeline.run("job", "erase", subject, "--yes")
    again = pipeline.run("job", "erase", subject, "--yes")

    assert (asked.returncode, done.code, again.code) == (2, 0, 0), asked.stderr + done.errors
    assert "Erase all of it?" in asked.stderr
    assert "The standard input has no answer" in asked.stderr
    assert f"removed gs://{pipeline.emulator.output}/channels/erased/walk.mp4#" in done.out
    assert again.out == f"Nothing of {subject} is stored.\n"
    assert list_left(pipeline, "erased") == (["channels/erased/policy.json"] if kind == "job" else [])
    mark = object_names.failed(ended.job)
    assert pipeline.list_names(pipeline.emulator.work, object_names.job_prefix(ended.job)) == [mark]
    status = pipeline.run("job", "status", ended.job)
    assert "erased on request" in status.out


def test_job_erased_while_it_runs_leaves_only_its_mark(pipeline: Pipeline, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "walk.mp4", Clip(seconds=12, keyframe_seconds=2, portrait=admiral()))
    uploaded = pipeline.upload(video, "--channel", "hasty")
    work, mark = pipeline.emulator.work, object_names.failed(uploaded.job)
    wait_until(
        lambda: (
            object_names.manifest(uploaded.job)
            in pipeline.list_names(work, object_names.job_prefix(uploaded.job))
        ),
        "the job was planned",
        300,
    )

    done = pipeline.run("job", "erase", "channels/hasty", "--yes")

    assert done.code == 0, done.errors
    wait_until_quiet(pipeline, tmp_path)
    assert pipeline.list_names(work, object_names.job_prefix(uploaded.job)) == [mark]
    assert list_left(pipeline, "hasty") == []


def test_forgotten_person_is_hidden_in_published_results(
    pipeline: Pipeline, clip: Path, astronaut: Path, tmp_path: Path
) -> None:
    ended = pipeline.upload(clip, "--channel", "vlog", "--keep", astronaut, "--wait")
    assert ended.code == 0, ended.errors
    assert "kept:   astronaut" in ended.out

    listed = pipeline.run("person", "forget", "astronaut", "--channel", "vlog", "--yes")
    done = pipeline.run("person", "forget", "astronaut", "--channel", "vlog", "--yes", "--rerender")

    assert (listed.code, done.code) == (1, 0), listed.errors + done.errors
    assert f"(job {ended.job}): it can be re-rendered" in listed.out
    assert "re-rendered" in done.out
    report = JobReport.from_bytes(
        pipeline.get_blob(pipeline.emulator.output, "channels/vlog/clip.report.jsonl").download_as_bytes()
    )
    assert {track.decision for track in report.tracks} == {"hide"}
    status = pipeline.run("job", "status", ended.job)
    assert "keeps     no one" in status.out


def wait_until_quiet(pipeline: Pipeline, folder: Path) -> None:
    """Wait until earlier messages are processed: the single worker processes segments in their order."""
    video = write_clip(folder / "last.mp4", Clip(seconds=1))
    assert pipeline.upload(video, "--channel", "last", "--wait").code == 0


def send(pipeline: Pipeline, topic: str, data: bytes, **attributes: str) -> None:
    with messaging.create_publisher(pipeline.emulator.state.pubsub_host) as publisher:
        path = messaging.topic_path(pipeline.emulator.resources.project, topic)
        publisher.publish(topic=path, messages=[PubsubMessage(data=data, attributes=attributes)])


def first_track(listed: str) -> str:
    """Return the number of the first track that `rerender` lists."""
    return listed.splitlines()[1].split()[0]


def log_levels(emulator: Emulator) -> dict[str, str]:
    """Return the log level in the environment of each function's process."""
    levels = {}
    for process in emulator.state.processes:
        if process.name in emulator.state.function_urls:
            levels[process.name] = psutil.Process(process.pid).environ().get("DEFACER_LOG_LEVEL", "")
    return levels


def test_no_log_line_names_or_shows_a_person(pipeline: Pipeline, tmp_path: Path) -> None:
    """Names have a mark. Jobs are published, fail, are re-rendered, erased and forgotten; messages are malformed."""
    channel, person = f"{MARK}channel", f"{MARK}person"
    target = tmp_path / f"{MARK}person.png"
    target.write_bytes(encode_picture(portrait()))
    faceless = encode_picture(np.full((300, 300, 3), 120, np.uint8))
    pipeline.put(f"channels/{MARK}faceless/targets/{MARK}faceless.png", faceless)
    pipeline.put(f"channels/{MARK}policy/policy.json", json.dumps({"mode": f"{MARK}mode"}).encode())
    video = write_video.write(
        tmp_path / f"{MARK}video.mp4",
        write_video.Video(
            portrait=portrait(),
            size=(480, 360),
            texts=(write_video.Text("mov_text", ((0.2, 1.0, f"{MARK}subtitle"),)),),
            chapters=((0.0, 1.0, f"{MARK}chapter"),),
            tags=(("title", f"{MARK}title"), ("location", f"{MARK}place")),
        ),
    )
    broken = tmp_path / f"{MARK}broken.mp4"
    broken.write_bytes(NOISE)

    kept = pipeline.upload(video, "--channel", channel, "--keep", target, "-o", tmp_path / "out.mp4")
    failed = [
        pipeline.upload(broken, "--channel", channel, "--wait"),
        pipeline.upload(video, "--channel", f"{MARK}faceless", "--wait"),
        pipeline.upload(video, "--channel", f"{MARK}policy", "--wait"),
    ]
    for topic in (UPLOADS, SEGMENTS, SEGMENTS_DONE):
        send(pipeline, topic, f'{{"job": "{MARK}"}}'.encode(), type=f"{MARK}type", bucketId=f"{MARK}bucket")
    tracks = run_command(pipeline, "job", "rerender", kept.job)
    again = run_command(pipeline, "job", "rerender", kept.job, "--keep", first_track(tracks.stdout), "--wait")
    refused = run_command(pipeline, "job", "rerender", kept.job, "--keep", "999", "--wait")
    forgotten = run_command(pipeline, "person", "forget", person, "--channel", channel, "--yes", "--rerender")
    gone = run_command(pipeline, "job", "erase", f"channels/{channel}", "--yes")
    wait_until_quiet(pipeline, tmp_path)

    assert (kept.code, [ended.code for ended in failed]) == (0, [1, 1, 1]), kept.errors
    assert f"kept:   {person}" in kept.out
    commands = (tracks, again, refused, forgotten, gone)
    assert [done.returncode for done in commands] == [0, 0, 2, 0, 0], [done.stderr for done in commands]
    assert "\nre-rendered gs://" in forgotten.stdout
    # Commands print names to the terminal. A log line would be JSON, and they log nothing.
    printed = [line for done in commands for line in (done.stdout + done.stderr).splitlines()]
    assert not [line for line in printed if line.startswith("{") or NUMBERS.search(line)]
    logs = {
        path.stem: path.read_text(errors="replace") for path in pipeline.emulator.folder.logs.glob("*.log")
    }
    functions = {function.name for function in (*FUNCTIONS, WEBHOOK)}
    assert functions < logs.keys()
    assert {name for name, level in log_levels(pipeline.emulator).items() if level == "DEBUG"} == functions
    lines = [json.loads(line) for log in logs.values() for line in log.splitlines() if line.startswith("{")]
    messages = {line.get("message") for line in lines}
    assert {
        "planned",
        "segment detected",
        "linked",
        "segment redacted",
        "published",
        "the job failed",
    } <= messages
    assert {"dropped a message that belongs to no job", "the receiver responded"} <= messages
    assert refused.stdout == ""  # the command checks the number, and makes no request
    job = again.stdout.split()[0]
    assert [line for line in lines if line.get("job") == job], "a re-render request is in no log"
    for name, log in logs.items():
        found = [
            line for line in log.splitlines() if MARK in line or NUMBERS.search(line) or ENCODED.search(line)
        ]
        assert not found, f"{name} logged private data: {found[:3]}"
