"""Dropping a video into the intake bucket, with the pictures and the policy that go with it."""

from dataclasses import dataclass
from pathlib import Path

from google.cloud import storage as cloud_storage

from defacer.engine.errors import PictureError
from defacer.engine.media.still_image import decode_picture
from defacer.pipeline.channel import parse_policy
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.storage import object_names
from defacer.pipeline.storage.object_names import VideoName
from defacer.plurals import printable
from defacer_emulator.errors import UsageError
from defacer_emulator.jobs import JobReader, storage_faults
from defacer_emulator.processes.state import EmulatorState
from defacer_emulator.services import storage
from defacer_emulator.setup.files import check_file, check_inputs
from defacer_emulator.terminal import Terminal

# Above this a file goes up in pieces of this size. The emulator copies all it has at each piece: fewer are faster.
CHUNK_BYTES = 32 * 1024 * 1024
UPLOAD_SECONDS = 600.0


@dataclass(frozen=True)
class Upload:
    """What to upload. `policy` is a file; `mode` stands for a policy of nothing but that; neither: none."""

    video: Path
    channel: str
    targets: tuple[Path, ...] = ()
    policy: Path | None = None
    mode: str | None = None
    replacement: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is read."""
        return (self.video, *self.targets, *filter(None, (self.policy, self.replacement)))


@dataclass(frozen=True)
class Uploaded:
    """A video that was uploaded, and the job that it is."""

    job: str
    source: str


def check(drop: Upload) -> None:
    """Raise UsageError for anything that can't be uploaded, before anything is."""
    check_inputs(drop.channel, drop.video, drop.targets, drop.replacement)
    for target in drop.targets:
        _check_picture(target, "The target picture", alpha=False)
    if drop.replacement:
        _check_picture(drop.replacement, "The replacement picture", alpha=True)
    if drop.policy:
        check_file(drop.policy, "The policy")
        _policy(drop)


def check_replacement(drop: Upload, there: bool) -> None:
    """Raise UsageError if its policy needs a replacement picture, and it has none; `there`: its channel has one."""
    policy = _policy(drop)
    if policy is not None and policy.mode == "image" and not drop.replacement and not there:
        raise UsageError(
            f"Mode image needs a picture, and channel {drop.channel} has none from an earlier drop: add "
            "--replacement PICTURE.png, or choose another mode."
        )


def upload(drop: Upload, emulator: EmulatorState, terminal: Terminal) -> Uploaded:
    """Upload all, the video last, because its arrival starts the job. Says whom the channel keeps."""
    client = storage.client(emulator.project, emulator.storage_url)
    reader = JobReader(client, emulator.resources)
    bucket = client.bucket(emulator.resources.intake)
    prefix = object_names.targets_prefix(drop.channel)
    check_replacement(drop, reader.has(object_names.replacement(drop.channel)))
    earlier = set(reader.kept_people(drop.channel))
    _upload_policy(drop, bucket, reader, terminal)
    if drop.replacement:
        _upload_file(bucket, object_names.replacement(drop.channel), drop.replacement, terminal)
    for target in drop.targets:
        _upload_file(bucket, prefix + target.name, target, terminal)
    _say_who_is_kept(drop, earlier, reader, terminal)
    source = VideoName(drop.channel, drop.video.name).object_name
    generation = _upload_file(bucket, source, drop.video, terminal)
    return Uploaded(object_names.job_id(bucket.name, source, generation), source)


def _upload_policy(drop: Upload, bucket: cloud_storage.Bucket, reader: JobReader, terminal: Terminal) -> None:
    name = object_names.policy(drop.channel)
    if drop.policy:
        _upload_file(bucket, name, drop.policy, terminal)
    elif policy := _policy(drop):
        with storage_faults():
            bucket.blob(name).upload_from_string(policy.model_dump_json(), "application/json")
    elif reader.has(name):
        terminal.say(f"The policy of channel {drop.channel} is the one of an earlier drop.")


def _say_who_is_kept(drop: Upload, earlier: set[str], reader: JobReader, terminal: Terminal) -> None:
    people = reader.kept_people(drop.channel)
    now = {
        object_names.parse_target(object_names.targets_prefix(drop.channel) + target.name)
        for target in drop.targets
    }
    if not people:
        terminal.say(f"Channel {drop.channel} keeps nobody: every face is hidden.")
        return
    terminal.say(f"Channel {drop.channel} keeps: {printable(', '.join(people))}.")
    if old := sorted(earlier - now):
        terminal.say(
            f"From earlier drops: {printable(', '.join(old))}. Another --channel starts with nobody."
        )


def _upload_file(bucket: cloud_storage.Bucket, name: str, path: Path, terminal: Terminal) -> int:
    """Upload one file; gives the generation that it has there."""
    blob = bucket.blob(name)
    size = path.stat().st_size
    if size > CHUNK_BYTES:
        blob.chunk_size = CHUNK_BYTES
    with storage_faults(), terminal.reading(path, f"Uploading {path.name}") as file:
        blob.upload_from_file(file, size=size, timeout=UPLOAD_SECONDS, retry=None)
    return int(blob.generation)


def _policy(drop: Upload) -> Policy | None:
    """The policy that goes up with it, as ingest will read it; None for none. Raises UsageError for a broken one."""
    if drop.policy:
        try:
            return parse_policy(drop.policy.read_bytes(), f"The policy {drop.policy}")
        except PermanentError as error:
            raise UsageError(str(error)) from error
    return Policy.model_validate({"mode": drop.mode}) if drop.mode else None


def _check_picture(path: Path, what: str, alpha: bool) -> None:
    """Raise UsageError unless the pipeline can read it as a picture; whether it shows one face it says itself."""
    try:
        decode_picture(path.read_bytes(), f"{what} {path}", alpha)
    except PictureError as error:
        raise UsageError(str(error)) from error
