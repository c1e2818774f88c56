"""The command line: its messages for invalid arguments, missing files and a missing emulator."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from defacer.commands.app import main
from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.lifecycle.job_state import ERASED
from defacer.pipeline.storage import object_names
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.services import storage
from tests.clips import Clip, astronaut, encode_picture, write_clip
from tests.emulator.conftest import run_up
from tests.emulator.up import Up
from tests.servers import DEFACER, ROOT, wait_until

Output = pytest.CaptureFixture[str]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "walk.mp4", Clip(seconds=1))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "me.png"
    path.write_bytes(encode_picture(astronaut()))
    return path


def read_error(output: Output) -> str:
    """Return the standard error, and assert that it is a single line of this program."""
    found = output.readouterr()
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1, found.err
    return found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["emulator", "fly"], "No such command 'fly'"),
        (["emulator", "up", "--workers", "0"], "greater than or equal to 1"),
        (["emulator", "up", "--pubsub", "kafka"], "'--pubsub'"),
        (["emulator", "up", "--port", "console=http"], "has no port from 0 to 65535"),
        (["emulator", "up", "--port", "pubsub=65536"], "has no port from 0 to 65535"),
        (["emulator", "up", "--port", "tv=80"], "names no service"),
        (["emulator", "upload"], "VIDEO"),
        (["emulator", "upload", "in.mp4", "--mode", "vanish"], "'--mode'"),
        (["emulator", "upload", "in.mp4", "--mode", "blur", "--policy", "p.json"], "exclude each other"),
        (["emulator", "logs", "--dir", "nowhere"], "has no log of an emulator"),
        (["job", "status", "--emulator", "--project", "p"], "exclude each other"),
        (["job", "rerender", "JOB", "--keep", "1", "--hide", "1"], "can't be kept and hidden at once"),
    ],
)
def test_invalid_argument_is_reported_with_exit_code_2(
    arguments: list[str], message: str, capsys: Output
) -> None:
    assert main(arguments) == 2

    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [f"emulator {name}" for name in ("up", "upload", "status", "logs", "down", "demo")]
    + [f"job {name}" for name in ("status", "rerender", "erase")]
    + ["person forget"],
)
def test_every_command_has_help(command: str, capsys: Output) -> None:
    assert main([*command.split(), "--help"]) == 0

    assert f"Usage: defacer {command} " in capsys.readouterr().out


def test_group_prints_examples(capsys: Output) -> None:
    assert main(["emulator", "--help"]) == 0

    assert "defacer emulator upload in.mp4 --keep me.jpg -o out.mp4" in capsys.readouterr().out


def test_missing_video_is_reported(tmp_path: Path, capsys: Output) -> None:
    assert main(["emulator", "upload", str(tmp_path / "no.mp4"), "--dir", str(tmp_path)]) == 2

    assert f"The video {tmp_path / 'no.mp4'} does not exist." in read_error(capsys)


def test_folder_instead_of_a_video_is_reported(tmp_path: Path, capsys: Output) -> None:
    assert main(["emulator", "upload", str(tmp_path), "--dir", str(tmp_path)]) == 2

    assert "is a folder, not a file" in read_error(capsys)


@pytest.mark.parametrize(
    ("option", "message"),
    [("--keep", "target picture"), ("--policy", "policy"), ("--replacement", "replacement picture")],
)
def test_each_missing_file_is_reported(
    option: str, message: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    assert (
        main(["emulator", "upload", str(video), option, str(tmp_path / "no.png"), "--dir", str(tmp_path)])
        == 2
    )

    assert f"The {message} {tmp_path / 'no.png'} does not exist." in read_error(capsys)


def test_target_picture_of_another_format_is_rejected(video: Path, tmp_path: Path, capsys: Output) -> None:
    picture = tmp_path / "me.gif"
    picture.write_bytes(b"x")

    assert main(["emulator", "upload", str(video), "--keep", str(picture), "--dir", str(tmp_path)]) == 2

    assert "me.gif is not a picture that can be read. Use a JPEG" in read_error(capsys)


def test_two_target_pictures_with_one_name_are_rejected(
    video: Path, picture: Path, tmp_path: Path, capsys: Output
) -> None:
    other = tmp_path / "other" / picture.name
    other.parent.mkdir()
    shutil.copy(picture, other)
    targets = ["--keep", str(picture), "--keep", str(other)]

    assert main(["emulator", "upload", str(video), *targets, "--dir", str(tmp_path)]) == 2

    assert "Two target pictures are called me.png" in read_error(capsys)


@pytest.mark.parametrize("channel", ["", "a/b", "..", "a\nb"])
def test_invalid_channel_name_is_rejected(channel: str, video: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["emulator", "upload", str(video), "--channel", channel, "--dir", str(tmp_path)]) == 2

    assert repr(channel) in read_error(capsys)


@pytest.mark.parametrize(
    "name", ["a\nb.mp4", "a\x1b[2J.mp4", "bad-\udcff-byte.mp4", "u" * 240 + ".mp4", "v" * 248 + ".mp4"]
)
def test_file_name_that_is_invalid_in_a_bucket_is_rejected(
    name: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    channel = "long" * 200 if name[0] == "u" else "street"
    odd = tmp_path / name
    shutil.copy(video, odd)
    assert main(["emulator", "upload", str(odd), "--channel", channel, "--dir", str(tmp_path)]) == 2

    error = read_error(capsys)
    assert "Rename it." in error
    assert error.removesuffix("\n").isprintable()


@pytest.mark.parametrize("name", ["safe.avi", "safe.mkv", "safe"])
@pytest.mark.parametrize("command", ["upload", "demo"])
def test_result_without_the_suffix_mp4_is_rejected(
    command: str, name: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    source = (
        ["emulator", "upload", str(video), "--dir", str(tmp_path)]
        if command == "upload"
        else ["emulator", "demo", "--video", str(video)]
    )

    assert main([*source, "-o", str(tmp_path / name)]) == 2

    assert f"name it {tmp_path / 'safe.mp4'}, not {name}." in read_error(capsys)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ('{"mode": "bl', "EOF while parsing"),
        ('{"mode": "vanish"}', "\"mode\" is 'vanish'"),
        ('{"mood": "blur"}', '"mood" is not a field (fields: mode, '),
        ("{\x01}", "invalid JSON"),
        ("\x00{\x00}", "it is encoded in UTF-16 or UTF-32, UTF-8 is expected"),
    ],
)
def test_invalid_policy_is_rejected_with_the_message_of_the_pipeline(
    policy: str, message: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(policy)

    assert main(["emulator", "upload", str(video), "--policy", str(path), "--dir", str(tmp_path)]) == 2

    error = read_error(capsys)
    assert f"The policy {path}: " in error
    assert message in error


@pytest.mark.parametrize(
    ("option", "description"), [("--keep", "target picture"), ("--replacement", "replacement picture")]
)
def test_file_that_is_not_a_picture_is_rejected(
    option: str, description: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "me.png"
    path.write_bytes(b"not a picture")

    assert main(["emulator", "upload", str(video), option, str(path), "--dir", str(tmp_path)]) == 2

    assert f"The {description} {path} is not a picture that can be read." in read_error(capsys)


@pytest.mark.slow
def test_target_picture_without_a_face_is_rejected_before_any_upload(
    running: Emulator, video: Path, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "me.png"
    path.write_bytes(encode_picture(np.full((300, 300, 3), 120, np.uint8)))
    upload = ["emulator", "upload", str(video), "--keep", str(path), "--channel", "faceless"]

    assert main([*upload, "--dir", str(running.folder.path)]) == 2

    assert f"The target picture {path} shows no face. Use a picture that shows" in read_error(capsys)
    assert not list(running.storage_client().list_blobs(running.intake, prefix="channels/faceless/"))


def test_target_picture_is_uploaded_and_checked_only_if_it_is_new(
    running: Emulator, video: Path, picture: Path, capsys: Output
) -> None:
    upload = ["emulator", "upload", str(video), "--keep", str(picture), "--channel", "again"]
    upload += ["--dir", str(running.folder.path)]

    def stored() -> list[int]:
        listed = running.storage_client().list_blobs(running.intake, prefix="channels/again/targets/")
        return [blob.generation for blob in listed]

    assert main(upload) == 0
    first = stored()
    assert main(upload) == 0
    assert stored() == first != []
    assert capsys.readouterr().err.count("Channel again keeps: me.\n") == 2
    picture.write_bytes(encode_picture(np.full((300, 300, 3), 120, np.uint8)))
    assert main(upload) == 2
    assert stored() == first


def test_demo_rejects_mode_image_without_a_picture(video: Path, tmp_path: Path, capsys: Output) -> None:
    assert (
        main(["emulator", "demo", "--video", str(video), "--mode", "image", "-o", str(tmp_path / "out.mp4")])
        == 2
    )

    assert "add --replacement PICTURE.png" in read_error(capsys)


def test_rejected_upload_writes_nothing(
    running: Emulator, video: Path, picture: Path, tmp_path: Path, capsys: Output
) -> None:
    state = running.state
    policy, typo = tmp_path / "image.json", tmp_path / "typo.json"
    policy.write_text('{"mode": "image"}')
    typo.write_text('{"mood": "blur"}')
    upload = ["emulator", "upload", str(video), "--channel", "rejected", "--dir", str(running.folder.path)]
    client = storage.create_client(state.project, state.storage_url)

    for options in (["--mode", "image"], ["--policy", str(policy)], ["--policy", str(typo)]):
        assert main([*upload, *options]) == 2
        assert not list(client.list_blobs(state.resources.intake, prefix="channels/rejected/"))
    assert "Add --replacement PICTURE.png" in capsys.readouterr().err.splitlines()[0]
    assert main([*upload, "--mode", "image", "--replacement", str(picture)]) == 0
    assert main([*upload, "--policy", str(policy)]) == 0  # it uses the picture of the earlier upload


def test_result_that_would_replace_the_video_is_rejected(video: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["emulator", "upload", str(video), "-o", str(video), "--dir", str(tmp_path)]) == 2

    assert "is also an input and would be overwritten" in read_error(capsys)


def test_result_in_a_missing_folder_is_rejected(video: Path, tmp_path: Path, capsys: Output) -> None:
    assert (
        main(
            ["emulator", "upload", str(video), "-o", str(tmp_path / "no" / "out.mp4"), "--dir", str(tmp_path)]
        )
        == 2
    )

    assert f"The folder {tmp_path / 'no'} for out.mp4 does not exist." in read_error(capsys)


@pytest.mark.parametrize("command", ["upload", "rerender", "demo"])
@pytest.mark.parametrize("existing", ["out.mp4", "out.report.jsonl"])
def test_existing_result_is_rejected_without_force(
    command: str, existing: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / existing).write_text("mine")
    arguments = {
        "upload": ["emulator", "upload", str(video), "--dir", str(tmp_path)],
        "rerender": ["job", "rerender", "0" * 20, "--keep", "1", "--dir", str(tmp_path)],
        "demo": ["emulator", "demo", "--video", str(video)],
    }

    assert main([*arguments[command], "-o", str(tmp_path / "out.mp4")]) == 2

    assert f"{tmp_path / existing} already exists. Name another file, or add --force" in read_error(capsys)
    assert (tmp_path / existing).read_text() == "mine"


def test_force_does_not_allow_a_result_to_replace_an_input(
    video: Path, picture: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "out.mp4"
    for file in (video, picture):
        out.symlink_to(file)
        arguments = ["emulator", "upload", str(video), "--keep", str(picture), "--dir", str(tmp_path)]
        assert main([*arguments, "-o", str(out), "--force"]) == 2
        assert f"{out} is also an input" in read_error(capsys)
        out.unlink()


def test_upload_and_status_without_an_emulator_print_how_to_start_it(
    video: Path, tmp_path: Path, capsys: Output
) -> None:
    for arguments in (["emulator", "upload", str(video)], ["emulator", "status"], ["job", "status"]):
        assert main([*arguments, "--dir", str(tmp_path)]) == 1

        error = read_error(capsys)
        assert f"No emulator runs in {tmp_path}." in error
        assert f"defacer emulator up --dir {tmp_path}" in error


def test_status_and_logs_describe_the_running_emulator(
    running: Emulator, video: Path, capsys: Output
) -> None:
    state = running.state
    folder = ["--dir", str(running.folder.path)]
    assert main(["emulator", "upload", str(video), "--channel", "logged", *folder]) == 0
    wait_until(lambda: "channels/logged" in running.folder.log("ingest").read_text(), "ingest was called")
    capsys.readouterr()

    assert main(["emulator", "status", *folder]) == 0
    assert f"  storage      {state.storage_url}\n" in capsys.readouterr().out
    assert main(["emulator", "status", "--json", *folder]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["storage"], found["worker"]) == (state.storage_url, state.function_urls["worker"])
    assert found["processes"].keys() >= state.function_urls.keys()
    assert main(["emulator", "logs", "ingest", *folder]) == 0
    assert "ingest | called ingest with channels/logged/videos/walk.mp4\n" in capsys.readouterr().out
    assert main(["emulator", "logs", "--lines", "1", "--json", "ingest", *folder]) == 0
    assert json.loads(capsys.readouterr().out)["process"] == "ingest"
    assert main(["emulator", "logs", "tv", *folder]) == 2
    assert "has no log of tv" in capsys.readouterr().err


def test_running_emulator_is_named_when_no_pipeline_is_chosen(
    stand_ins: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DEFACER_PROJECT", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    with Emulator(EmulatorOptions(pubsub="builtin", functions=stand_ins)):
        assert main(["job", "status"]) == 2
        assert read_error(capsys) == (
            "error: No pipeline is chosen. Add --emulator or --project PROJECT. An emulator runs in .emulator.\n"
        )
        assert main(["job", "status", "--emulator"]) == 0
        assert capsys.readouterr().out == "No jobs yet. Upload a video first.\n"


def test_option_open_opens_the_console_in_the_browser(
    stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with run_up(tmp_path, stand_ins, "--open") as up:
        state = up.wait_until_ready()
        wait_until(lambda: opened.is_file() and opened.read_text() != "", "the browser was opened")
        assert opened.read_text() == f"{state.console_url}\n"


def test_down_without_an_emulator_succeeds(tmp_path: Path, capsys: Output) -> None:
    assert main(["emulator", "down", "--dir", str(tmp_path)]) == 0

    assert capsys.readouterr().out == f"No emulator runs in {tmp_path}.\n"


def test_missing_google_emulator_is_reported_with_an_alternative(
    tmp_path: Path, stand_ins: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defacer_emulator.emulator.find_google_emulator", lambda: None)

    code = main(
        ["emulator", "up", "--pubsub", "google", "--dir", str(tmp_path / "s"), "--functions", str(stand_ins)]
    )

    assert code == 2
    assert "--pubsub builtin" in capsys.readouterr().err


def test_upload_prints_the_job_that_status_lists(
    running: Emulator, video: Path, picture: Path, tmp_path: Path, capsys: Output
) -> None:
    state = ["--dir", str(running.folder.path)]

    assert (
        main(["emulator", "upload", str(video), "--channel", "street", "--keep", str(picture), *state]) == 0
    )
    output = capsys.readouterr()
    job = output.out.strip()
    assert "Channel street keeps: me." in output.err
    assert f"defacer job status {job} --dir " in output.err

    friend = tmp_path / "friend.png"
    shutil.copy(picture, friend)
    assert main(["emulator", "upload", str(video), "--channel", "street", "--keep", str(friend), *state]) == 0
    assert "Channel street keeps: friend, me.\nFrom earlier uploads: me." in capsys.readouterr().err

    assert main(["job", "status", *state]) == 0
    assert "channels/street/videos/walk.mp4" in capsys.readouterr().out
    assert main(["job", "status", "0" * 20, *state]) == 2
    assert f"The job {'0' * 20} does not exist" in read_error(capsys)


def test_ctrl_c_while_waiting_prints_that_the_job_continues(running: Emulator, video: Path) -> None:
    command = [*DEFACER, "emulator", "upload", str(video), "--wait"]
    with subprocess.Popen(
        [*command, "--channel", "interrupted", "--dir", str(running.folder.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        job = process.stdout.readline().strip()  # it waits now, because a stand-in plans nothing

        process.send_signal(signal.SIGINT)

        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "The job continues. To see its progress: " in errors
    assert f"defacer job status {job} --dir " in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("end", [pytest.param("stopped", marks=pytest.mark.slow), "killed"])
def test_waiting_ends_when_the_emulator_ends(up: Up, end: str, video: Path) -> None:
    up.wait_until_ready()
    command = [*DEFACER, "emulator", "upload", str(video), "--wait"]
    with subprocess.Popen(
        [*command, "--dir", str(up.folder.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        up.process.send_signal(signal.SIGTERM if end == "stopped" else signal.SIGKILL)

        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "The emulator was stopped before the job's end" in errors
    assert "Traceback" not in errors


def test_erased_job_is_listed_as_erased(running: Emulator, capsys: Output) -> None:
    job, state = "0123456789abcdef0123", str(running.folder.path)
    failed = Failed(job=job, source=None, stage="erase", code=ERASED, message="A long message.")
    blob = running.storage_client().bucket(running.work).blob(object_names.failed(job))
    blob.upload_from_string(failed.model_dump_json())
    assert main(["job", "status", "--dir", state]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["job", "status", job, "--dir", state]) == 0
    details = capsys.readouterr().out

    assert table[0] == ["JOB", "KIND", "STATE", "SEGMENTS", "DONE", "SOURCE"]
    assert [job, "-", "erased", "on", "request", "-", "-", "-"] in table
    assert "state     erased on request\n" in details
    assert not {"failed", "?", "A long message."} & {*details.split(), *details.splitlines()}


def test_invalid_plan_of_faults_is_reported(tmp_path: Path, capsys: Output) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"seed": 1, "rates": {"earthquake": 1}}')

    assert main(["emulator", "up", "--dir", str(tmp_path), "--chaos", str(plan)]) == 2

    error = read_error(capsys)
    assert str(plan) in error
    assert "the fault 'earthquake' is unknown" in error
