"""What a channel has laid beside its videos: the policy, the target pictures, the replacement picture.

Each broken one is a PermanentError that names the object, what is wrong with it and what would be right:
hiding everyone, or nobody, because of a typing error is not for this code to choose.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from google.cloud.storage import Blob
from pydantic import ValidationError

from functions.pipeline import layout, log, store
from functions.pipeline.contracts import MAX_TARGET_PICTURES, ObjectRef, Policy
from functions.pipeline.errors import PermanentError
from functions.pipeline.faults import passing_faults

MAX_POLICY_BYTES = 64 * 1024
MAX_PICTURE_BYTES = 30 * 1024 * 1024
# All of a job's pictures are in memory together.
MAX_ALL_PICTURES_BYTES = 300 * 1024 * 1024


@dataclass(frozen=True)
class TargetPicture:
    """One picture of somebody who stays visible."""

    person: str
    ref: ObjectRef

    @property
    def label(self) -> str:
        return f"gs://{self.ref.bucket}/{self.ref.name}"


def read_policy(bucket: str, channel: str) -> Policy:
    """The channel's policy; all defaults if it has none. Raises PermanentError for a broken one."""
    blob = store.find(bucket, layout.policy(channel))
    if blob is None:
        return Policy()
    _check_size(blob, MAX_POLICY_BYTES, "bad-policy")
    ref = store.reference(blob)
    try:
        return Policy.model_validate_json(store.read(ref))
    except ValidationError as error:
        raise PermanentError("bad-policy", _policy_sentence(ref, error)) from error


def read_replacement(bucket: str, channel: str) -> ObjectRef:
    """The picture for mode "image". Raises PermanentError if it is missing or is no picture."""
    name = layout.replacement(channel)
    blob = store.find(bucket, name)
    if blob is None:
        raise PermanentError(
            "no-replacement",
            f'gs://{bucket}/{layout.policy(channel)} has the mode "image", but there is no '
            f"gs://{bucket}/{name}. Upload the picture that shall cover faces, or choose another mode.",
        )
    _check_size(blob, MAX_PICTURE_BYTES, "bad-replacement")
    ref = store.reference(blob)
    if not _is_picture(store.read(ref)):
        raise PermanentError(
            "bad-replacement", f"gs://{bucket}/{name} is not a picture that can be read. Upload a PNG there."
        )
    return ref


def list_targets(bucket: str, channel: str) -> tuple[TargetPicture, ...]:
    """The channel's target pictures in the order of their names; none means that everyone is hidden.

    Raises PermanentError if there are more, or bigger ones, than a job can take.
    """
    prefix = layout.targets_prefix(channel)
    with passing_faults("listing target pictures"):
        blobs = sorted(
            store.client().list_blobs(bucket, prefix=prefix, retry=store.retries()),
            key=lambda blob: blob.name,
        )
    pictures, size = [], 0
    for blob in blobs:
        person = layout.parse_target(blob.name)
        if person is None:
            continue
        _check_size(blob, MAX_PICTURE_BYTES, "bad-target")
        size += blob.size
        pictures.append(TargetPicture(person, store.reference(blob)))
    if len(pictures) < len(blobs):
        log.info("ignored objects that are no target pictures", ignored=len(blobs) - len(pictures))
    if len(pictures) > MAX_TARGET_PICTURES or size > MAX_ALL_PICTURES_BYTES:
        raise PermanentError(
            "too-many-targets",
            f"gs://{bucket}/{prefix} holds {len(pictures)} pictures of {_mebibytes(size)} together; at most "
            f"{MAX_TARGET_PICTURES} and {_mebibytes(MAX_ALL_PICTURES_BYTES)} are allowed. Remove some.",
        )
    return tuple(pictures)


def _is_picture(data: bytes) -> bool:
    try:
        return bool(data) and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:  # too large, or damaged in a way that OpenCV raises for
        return False


def _check_size(blob: Blob, limit: int, code: str) -> None:
    if blob.size > limit:
        raise PermanentError(
            code,
            f"gs://{blob.bucket.name}/{blob.name} has {blob.size} bytes, at most {limit} are allowed. "
            "Upload a smaller one.",
        )


def _policy_sentence(ref: ObjectRef, error: ValidationError) -> str:
    """Every problem with its field, the value found and what is allowed."""
    problems = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            problems.append(f'there is no field "{field}" (there are: {", ".join(Policy.model_fields)})')
        elif field:
            problems.append(f'"{field}" is {item["input"]!r}: {_lower_first(item["msg"])}')
        else:
            problems.append(_lower_first(item["msg"]))
    return f"gs://{ref.bucket}/{ref.name}: {'; '.join(problems)}. Correct it and upload the video again."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MiB"
