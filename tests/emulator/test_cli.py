"""What a person is told who mistypes, names a file that is not there, or has no emulator running."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from defacer.pipeline.documents.job_records import Failed
from defacer.pipeline.lifecycle.job_state import ERASED
from defacer.pipeline.storage import object_names
from defacer_emulator.commands.cli import main
from defacer_emulator.emulator import Emulator, Options
from defacer_emulator.processes.state import StateFolder
from defacer_emulator.services import storage
from tests.clips import Clip, astronaut, encode_picture, write_clip
from tests.emulator.up import Up
from tests.servers import ROOT, wait_until

Output = pytest.CaptureFixture[str]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "walk.mp4", Clip(seconds=1))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "me.png"
    path.write_bytes(encode_picture(astronaut()))
    return path


def one_line(output: Output) -> str:
    """What was said on standard error, which has to be a single line of this program."""
    found = output.readouterr()
    assert found.out == ""
    assert found.err.startswith("defacer_emulator: ")
    assert found.err.count("\n") == 1, found.err
    return found.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["up", "--workers", "0"], "'0' is not a number above zero"),
        (["up", "--workers", "some"], "'some' is not a number above zero"),
        (["up", "--pubsub", "kafka"], "invalid choice: 'kafka'"),
        (["up", "--console-port", "http"], "'http' is not a port from 0 to 65535"),
        (["up", "--pubsub-port", "65536"], "'65536' is not a port from 0 to 65535"),
        (["drop"], "VIDEO"),
        (["drop", "in.mp4", "--mode", "vanish"], "blur, pixelate, solid, image"),
        (["drop", "in.mp4", "--mode", "blur", "--policy", "p.json"], "not allowed with"),
    ],
)
def test_bad_arguments_are_named_and_exit_with_2(arguments: list[str], says: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert says in capsys.readouterr().err.replace(
        "'blur', 'pixelate', 'solid', 'image'", "blur, pixelate, solid, image"
    )


@pytest.mark.parametrize("command", ["up", "drop", "status", "erase", "forget", "down", "demo"])
def test_every_command_explains_itself(command: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert "usage: python -m defacer_emulator " + command in capsys.readouterr().out


def test_help_has_examples_and_works_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "defacer_emulator", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "drop in.mp4 --target me.jpg -o out.mp4" in done.stdout
    assert done.stderr == ""


def test_a_missing_video_is_named(tmp_path: Path, capsys: Output) -> None:
    assert main(["drop", str(tmp_path / "no.mp4"), "--state", str(tmp_path)]) == 2

    assert f"The video {tmp_path / 'no.mp4'} does not exist." in one_line(capsys)


def test_a_folder_instead_of_a_video_is_named(tmp_path: Path, capsys: Output) -> None:
    assert main(["drop", str(tmp_path), "--state", str(tmp_path)]) == 2

    assert "is a folder, not a file" in one_line(capsys)


@pytest.mark.parametrize(
    ("option", "says"),
    [("--target", "target picture"), ("--policy", "policy"), ("--replacement", "replacement picture")],
)
def test_every_missing_file_is_named(
    option: str, says: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    assert main(["drop", str(video), option, str(tmp_path / "no.png"), "--state", str(tmp_path)]) == 2

    assert f"The {says} {tmp_path / 'no.png'} does not exist." in one_line(capsys)


def test_a_target_of_another_format_is_refused(video: Path, tmp_path: Path, capsys: Output) -> None:
    picture = tmp_path / "me.heic"
    picture.write_bytes(b"x")

    assert main(["drop", str(video), "--target", str(picture), "--state", str(tmp_path)]) == 2

    assert "me.heic must end in one of .jpeg, .jpg, .png" in one_line(capsys)


def test_two_targets_of_one_name_are_refused(
    video: Path, picture: Path, tmp_path: Path, capsys: Output
) -> None:
    other = tmp_path / "other" / picture.name
    other.parent.mkdir()
    shutil.copy(picture, other)
    targets = ["--target", str(picture), "--target", str(other)]

    assert main(["drop", str(video), *targets, "--state", str(tmp_path)]) == 2

    assert "Two target pictures are called me.png" in one_line(capsys)


@pytest.mark.parametrize("channel", ["", "a/b", "..", "a\nb"])
def test_a_channel_that_is_no_word_is_refused(
    channel: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    assert main(["drop", str(video), "--channel", channel, "--state", str(tmp_path)]) == 2

    assert repr(channel) in one_line(capsys)


@pytest.mark.parametrize(
    "name", ["a\nb.mp4", "a\x1b[2J.mp4", "bad-\udcff-byte.mp4", "u" * 240 + ".mp4", "v" * 248 + ".mp4"]
)
def test_a_file_whose_name_would_do_harm_in_a_bucket_is_refused(
    name: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    channel = "long" * 200 if name[0] == "u" else "street"
    odd = tmp_path / name
    shutil.copy(video, odd)
    assert main(["drop", str(odd), "--channel", channel, "--state", str(tmp_path)]) == 2

    said = one_line(capsys)
    assert "Rename it." in said
    assert said.removesuffix("\n").isprintable()


@pytest.mark.parametrize("name", ["safe.avi", "safe.mkv", "safe"])
@pytest.mark.parametrize("command", ["drop", "demo"])
def test_a_result_that_is_not_named_as_an_mp4_is_refused(
    command: str, name: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    source = (
        ["drop", str(video), "--state", str(tmp_path)]
        if command == "drop"
        else ["demo", "--video", str(video)]
    )

    assert main([*source, "-o", str(tmp_path / name)]) == 2

    assert f"name it {tmp_path / 'safe.mp4'}, not {name}." in one_line(capsys)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ('{"mode": "bl', "EOF while parsing"),
        ('{"mode": "vanish"}', "\"mode\" is 'vanish'"),
        ('{"mood": "blur"}', '"mood" is not a field (fields: mode, '),
        ("{\x01}", "invalid JSON"),
        ("\x00{\x00}", "it is encoded in UTF-16 or UTF-32, UTF-8 is expected"),
    ],
)
def test_a_broken_policy_is_refused_as_the_pipeline_would(
    policy: str, says: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "policy.json"
    path.write_text(policy)

    assert main(["drop", str(video), "--policy", str(path), "--state", str(tmp_path)]) == 2

    said = one_line(capsys)
    assert f"The policy {path}: " in said
    assert says in said


@pytest.mark.parametrize(
    ("option", "what"), [("--target", "target picture"), ("--replacement", "replacement picture")]
)
def test_a_picture_that_is_none_is_refused(
    option: str, what: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / "me.png"
    path.write_bytes(b"no picture")

    assert main(["drop", str(video), option, str(path), "--state", str(tmp_path)]) == 2

    assert f"The {what} {path} is not a picture that can be read." in one_line(capsys)


def test_the_demo_refuses_mode_image_without_a_picture(video: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["demo", "--video", str(video), "--mode", "image", "-o", str(tmp_path / "out.mp4")]) == 2

    assert "add --replacement PICTURE.png" in one_line(capsys)


def test_what_can_t_be_done_is_refused_and_leaves_nothing_in_the_channel(
    up: Up, video: Path, picture: Path, tmp_path: Path, capsys: Output
) -> None:
    state = up.wait_until_ready()
    policy, typo = tmp_path / "image.json", tmp_path / "typo.json"
    policy.write_text('{"mode": "image"}')
    typo.write_text('{"mood": "blur"}')
    drop = ["drop", str(video), "--channel", "street", "--state", str(up.folder.path)]
    client = storage.create_client(state.project, state.storage_url)

    for how in (["--mode", "image"], ["--policy", str(policy)], ["--policy", str(typo)]):
        assert main([*drop, *how]) == 2
        assert not list(client.list_blobs(state.resources.intake))
    assert "Add --replacement PICTURE.png" in capsys.readouterr().err.splitlines()[0]
    assert main([*drop, "--mode", "image", "--replacement", str(picture)]) == 0
    assert main([*drop, "--policy", str(policy)]) == 0  # the picture of the earlier drop is there


def test_a_result_in_place_of_the_video_is_refused(video: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["drop", str(video), "-o", str(video), "--state", str(tmp_path)]) == 2

    assert "is also an input and would be overwritten" in one_line(capsys)


def test_a_result_in_a_folder_that_is_not_there_is_refused(
    video: Path, tmp_path: Path, capsys: Output
) -> None:
    assert main(["drop", str(video), "-o", str(tmp_path / "no" / "out.mp4"), "--state", str(tmp_path)]) == 2

    assert f"The folder {tmp_path / 'no'} for out.mp4 does not exist." in one_line(capsys)


@pytest.mark.parametrize("command", ["drop", "again", "demo"])
@pytest.mark.parametrize("there", ["out.mp4", "out.report.jsonl"])
def test_an_existing_result_is_refused_without_force(
    command: str, there: str, video: Path, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / there).write_text("mine")
    arguments = {
        "drop": ["drop", str(video), "--state", str(tmp_path)],
        "again": ["again", "0" * 20, "--keep", "1", "--state", str(tmp_path)],
        "demo": ["demo", "--video", str(video)],
    }

    assert main([*arguments[command], "-o", str(tmp_path / "out.mp4")]) == 2

    assert f"{tmp_path / there} already exists. Name another file, or add --force" in one_line(capsys)
    assert (tmp_path / there).read_text() == "mine"


def test_force_does_not_let_a_result_replace_an_input(
    video: Path, picture: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "out.mp4"
    for read in (video, picture):
        out.symlink_to(read)
        arguments = ["drop", str(video), "--target", str(picture), "--state", str(tmp_path)]
        assert main([*arguments, "-o", str(out), "--force"]) == 2
        assert f"{out} is also an input" in one_line(capsys)
        out.unlink()


def test_drop_and_status_without_an_emulator_say_how_to_start_one(
    video: Path, tmp_path: Path, capsys: Output
) -> None:
    for arguments in (["drop", str(video)], ["status"]):
        assert main([*arguments, "--state", str(tmp_path)]) == 2

        said = one_line(capsys)
        assert f"No emulator runs in {tmp_path}." in said
        assert f"python -m defacer_emulator up --state {tmp_path}" in said


def test_down_without_an_emulator_is_fine(tmp_path: Path, capsys: Output) -> None:
    assert main(["down", "--state", str(tmp_path)]) == 0

    assert capsys.readouterr().out == f"No emulator runs in {tmp_path}.\n"


def test_google_where_it_is_not_installed_says_how_to_install_it(
    tmp_path: Path, stand_ins: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defacer_emulator.emulator.find_google_emulator", lambda: None)

    code = main(["up", "--pubsub", "google", "--state", str(tmp_path / "s"), "--functions", str(stand_ins)])

    assert code == 2
    assert "--pubsub builtin" in capsys.readouterr().err


def test_drop_prints_the_job_and_status_knows_it(
    up: Up, video: Path, picture: Path, tmp_path: Path, capsys: Output
) -> None:
    up.wait_until_ready()
    state = ["--state", str(up.folder.path)]

    assert main(["drop", str(video), "--channel", "street", "--target", str(picture), *state]) == 0
    found = capsys.readouterr()
    job = found.out.strip()
    assert "Channel street keeps: me." in found.err
    assert f"python -m defacer_emulator status {job}" in found.err

    friend = tmp_path / "friend.png"
    shutil.copy(picture, friend)
    assert main(["drop", str(video), "--channel", "street", "--target", str(friend), *state]) == 0
    assert "Channel street keeps: friend, me.\nFrom earlier drops: me." in capsys.readouterr().err

    assert main(["status", *state]) == 0
    assert "channels/street/videos/walk.mp4" in capsys.readouterr().out
    assert main(["status", "0" * 20, *state]) == 1
    assert f"There is no job {'0' * 20}" in one_line(capsys)


def test_ctrl_c_while_waiting_says_that_the_job_goes_on(up: Up, video: Path) -> None:
    up.wait_until_ready()
    command = [sys.executable, "-m", "defacer_emulator", "drop", str(video), "--wait"]
    with subprocess.Popen(
        [*command, "--state", str(up.folder.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        job = process.stdout.readline().strip()  # it waits from now on: a stand-in plans nothing

        process.send_signal(signal.SIGINT)

        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "The job continues. To see its progress: " in errors
    assert f"python -m defacer_emulator status {job}" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_waiting_ends_when_the_emulator_does(up: Up, how: str, video: Path) -> None:
    up.wait_until_ready()
    command = [sys.executable, "-m", "defacer_emulator", "drop", str(video), "--wait"]
    with subprocess.Popen(
        [*command, "--state", str(up.folder.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        up.process.send_signal(signal.SIGTERM if how == "stopped" else signal.SIGKILL)

        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "The emulator was stopped before the job's end" in errors
    assert "Traceback" not in errors


def test_a_job_of_an_earlier_emulator_is_shown_as_stopped(
    stand_ins: Path, tmp_path: Path, capsys: Output
) -> None:
    options = Options(tmp_path / "state", "builtin", functions=stand_ins)
    job = "0123456789abcdef0123"
    with Emulator(options) as emulator:
        emulator.storage_client().bucket(emulator.work).blob(
            f"jobs/{job}/merge-lease.json"
        ).upload_from_string(b"x")
        assert main(["status", "--state", str(options.state)]) == 0
        assert "waiting" in capsys.readouterr().out

    with Emulator(options):
        assert main(["status", "--state", str(options.state)]) == 0
        found = capsys.readouterr().out

    assert job in found
    assert "stopped with an earlier emulator" in found


def test_an_erased_job_is_shown_as_erased_in_a_line(stand_ins: Path, tmp_path: Path, capsys: Output) -> None:
    job = "0123456789abcdef0123"
    with Emulator(Options(tmp_path / "state", "builtin", functions=stand_ins)) as emulator:
        failed = Failed(job=job, source=None, stage="erase", code=ERASED, message="A long sentence.")
        blob = emulator.storage_client().bucket(emulator.work).blob(object_names.failed(job))
        blob.upload_from_string(failed.model_dump_json())
        assert main(["status", "--state", str(tmp_path / "state")]) == 0
        table = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert main(["status", job, "--state", str(tmp_path / "state")]) == 0
        alone = capsys.readouterr().out

    assert table == [
        ["JOB", "STATE", "SEGMENTS", "DONE", "SOURCE"],
        [job, "erased", "on", "request", "-", "-", "-"],
    ]
    assert "state     erased on request\n" in alone
    assert not {"failed", "?", "A long sentence."} & {*alone.split(), *alone.splitlines()}


def test_up_says_what_to_export_and_follows_the_functions(up: Up, video: Path) -> None:
    state = up.wait_until_ready()
    assert main(["drop", str(video), "--state", str(up.folder.path)]) == 0
    log = StateFolder(up.folder.path).log("ingest")
    wait_until(lambda: "called ingest" in log.read_text(), "ingest was called")

    up.process.send_signal(signal.SIGINT)

    code, out, _ = up.end()
    assert code == 0
    assert f"  export STORAGE_EMULATOR_HOST={state.storage_url}\n" in out
    assert f"  export PUBSUB_EMULATOR_HOST={state.pubsub_host}\n" in out
    assert "ingest      | called ingest with channels/demo/videos/walk.mp4\n" in out
    assert out.endswith("Stopped.\n")


def test_a_plan_of_faults_that_is_none_is_named(tmp_path: Path, capsys: Output) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"seed": 1, "rates": {"earthquake": 1}}')

    assert main(["up", "--state", str(tmp_path), "--chaos", str(plan)]) == 2

    said = one_line(capsys)
    assert str(plan) in said
    assert "there is no fault 'earthquake'" in said
