"""Upload a video into the intake bucket, with its target pictures and policy."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.cloud.storage import Blob

from defacer.commands.common.terminal import Terminal
from defacer.pipeline.channel import list_kept_people, parse_policy
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.lifecycle.job_status import StartedJob
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.object_names import VideoName
from defacer.pipeline.storage.transient_errors import transient_errors_as_retryable
from defacer.plurals import printable
from defacer_emulator.errors import EmulatorUsageError
from defacer_emulator.setup.files import check_file, check_inputs

# Larger files are uploaded in chunks of this size. fake-gcs-server copies the whole upload at each chunk, so few large
# chunks are faster.
CHUNK_BYTES = 32 * 1024 * 1024
UPLOAD_SECONDS = 600.0


@dataclass(frozen=True)
class Upload:
    """The files to upload. `policy` is a file. `mode` is an alternative: a policy with only this mode."""

    video: Path
    channel: str
    targets: tuple[Path, ...] = ()
    policy: Path | None = None
    mode: str | None = None
    replacement: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Return every file that is read."""
        return (self.video, *self.targets, *filter(None, (self.policy, self.replacement)))


def check_upload(upload: Upload) -> None:
    """Raise an error for a file that can't be uploaded. `check_targets` checks the target pictures."""
    check_inputs(upload.channel, upload.video, upload.targets, upload.replacement)
    if upload.policy:
        check_file(upload.policy, "The policy")
        _parse_policy(upload)
    if upload.replacement:
        from defacer.engine.redact_file import read_replacement

        read_replacement(upload.replacement)


def check_targets(upload: Upload) -> None:
    """Raise PictureError for target pictures that can't be used."""
    if not upload.targets:
        return
    # Loading the engine takes longer than the upload.
    from defacer.engine.engine import Engine
    from defacer.engine.recognition.gallery import Picture

    Engine().check_pictures(
        [Picture(path.stem, f"The target picture {path}", path.read_bytes()) for path in upload.targets]
    )


def check_new_targets(upload: Upload) -> None:
    """Do as `check_targets`, unless the channel has exactly these pictures. Then an earlier upload was checked."""
    stored = _stored_targets(upload.channel)
    if not all(_is_stored(upload, target, stored) for target in upload.targets):
        check_targets(upload)


def check_replacement(upload: Upload, has_earlier: bool) -> None:
    """Raise EmulatorUsageError if the policy needs a replacement picture and neither upload nor channel has one."""
    policy = _parse_policy(upload)
    if policy is not None and policy.mode == "image" and not upload.replacement and not has_earlier:
        raise EmulatorUsageError(
            f"Mode image needs a picture, and channel {upload.channel} has none from an earlier upload. Add "
            "--replacement PICTURE.png, or choose another mode."
        )


def upload_video(upload: Upload, terminal: Terminal) -> StartedJob:
    """Upload all files and print the people that the channel keeps. The video is last, because it starts the job.

    The settings name the bucket. Raises RetryableError if storage does not answer.
    """
    intake = settings().intake_bucket
    check_replacement(upload, objects.find_blob(intake, object_names.replacement(upload.channel)) is not None)
    stored = _stored_targets(upload.channel)
    _upload_policy(upload, terminal)
    if upload.replacement:
        _upload_file(object_names.replacement(upload.channel), upload.replacement, terminal)
    for target in upload.targets:
        if not _is_stored(upload, target, stored):
            _upload_file(_target_name(upload, target), target, terminal)
    _print_kept_people(upload, set(object_names.list_people(stored)), terminal)
    source = VideoName(upload.channel, upload.video.name).object_name
    generation = _upload_file(source, upload.video, terminal)
    return StartedJob(object_names.job_id(intake, source, generation), source)


def _upload_policy(upload: Upload, terminal: Terminal) -> None:
    name = object_names.policy(upload.channel)
    if upload.policy:
        _upload_file(name, upload.policy, terminal)
    elif policy := _parse_policy(upload):
        with transient_errors_as_retryable("uploading the policy"):
            _blob(name).upload_from_string(policy.model_dump_json(), "application/json")
    elif objects.find_blob(settings().intake_bucket, name) is not None:
        terminal.print_line(f"Channel {upload.channel} uses the policy of an earlier upload.")


def _print_kept_people(upload: Upload, earlier: set[str], terminal: Terminal) -> None:
    kept = list_kept_people(upload.channel)
    added = {object_names.parse_target(_target_name(upload, target)) for target in upload.targets}
    if not kept:
        terminal.print_line(f"Channel {upload.channel} keeps no one: every face is hidden.")
        return
    terminal.print_line(f"Channel {upload.channel} keeps: {printable(', '.join(kept))}.")
    if old := sorted(earlier - added):
        terminal.print_line(
            f"From earlier uploads: {printable(', '.join(old))}. A new --channel keeps no one."
        )


def _target_name(upload: Upload, target: Path) -> str:
    return object_names.targets_prefix(upload.channel) + target.name


def _stored_targets(channel: str) -> Mapping[str, str]:
    """Return the MD5 digest of each object in the channel's folder of target pictures, by the object's name."""
    blobs = objects.list_blobs(settings().intake_bucket, object_names.targets_prefix(channel))
    return {blob.name: blob.md5_hash for blob in blobs}


def _is_stored(upload: Upload, target: Path, stored: Mapping[str, str]) -> bool:
    """Return whether the channel has this file under its name."""
    digest = hashlib.md5(target.read_bytes(), usedforsecurity=False).digest()
    return stored.get(_target_name(upload, target)) == base64.b64encode(digest).decode()


def _upload_file(name: str, path: Path, terminal: Terminal) -> int:
    """Upload one file into the intake bucket and return its generation."""
    blob = _blob(name)
    size = path.stat().st_size
    if size > CHUNK_BYTES:
        blob.chunk_size = CHUNK_BYTES
    with (
        transient_errors_as_retryable(f"uploading {path.name}"),
        terminal.open_with_progress(path, f"Uploading {path.name}") as file,
    ):
        blob.upload_from_file(file, size=size, timeout=UPLOAD_SECONDS, retry=None)
    return int(blob.generation)


def _blob(name: str) -> Blob:
    return objects.client().bucket(settings().intake_bucket).blob(name)


def _parse_policy(upload: Upload) -> Policy | None:
    """Return the upload's policy as ingest reads it, or None. Raise PermanentError if it is not valid."""
    if upload.policy:
        return parse_policy(upload.policy.read_bytes(), f"The policy {upload.policy}")
    return Policy.model_validate({"mode": upload.mode}) if upload.mode else None
