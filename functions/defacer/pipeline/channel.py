"""The other inputs of a channel than its videos: the policy, the target pictures and the replacement picture.

An invalid input is a PermanentError that names the object, the fault and the allowed values. A typo must not decide
that everyone is hidden, or that no one is.
"""

from dataclasses import dataclass
from itertools import islice

from google.cloud.storage import Blob
from pydantic import ValidationError

from defacer.by_products import is_by_product
from defacer.pipeline import log
from defacer.pipeline.documents.base import EncodingError, ObjectRef, normalize_utf8
from defacer.pipeline.documents.manifest import Policy
from defacer.pipeline.error_codes import ErrorCode
from defacer.pipeline.errors import PermanentError
from defacer.pipeline.settings import settings
from defacer.pipeline.storage import object_names, objects
from defacer.pipeline.storage.transient_errors import transient_errors_as_retryable
from defacer.plurals import pluralize

# A person reads the message about an invalid policy, so it reports a few problems with short values.
MAX_REPORTED_PROBLEMS, MAX_REPORTED_CHARACTERS = 5, 80
# The largest number of objects to list in a channel's folder of targets, pictures or not.
MAX_LISTED = 20_000


@dataclass(frozen=True)
class TargetPicture:
    """A target picture."""

    person: str
    ref: ObjectRef

    @property
    def label(self) -> str:
        return object_names.owner_name(self.ref.name)


@dataclass(frozen=True)
class TargetsFolder:
    """The files below `targets/`. `misplaced` are the names of those that are not in the folder of a person."""

    pictures: tuple[TargetPicture, ...]
    misplaced: tuple[str, ...]


def read_policy(bucket: str, channel: str) -> Policy:
    """Read the channel's policy, or return the defaults if it has none. Raises PermanentError if it is invalid."""
    blob = objects.find_blob(bucket, object_names.policy(channel))
    if blob is None:
        return Policy()
    _require_size(blob, settings().max_policy_bytes, ErrorCode.BAD_POLICY)
    ref = objects.reference(blob)
    return parse_policy(objects.read(ref), object_names.owner_name(ref.name))


def parse_policy(data: bytes, label: str) -> Policy:
    """Parse a policy. Raises PermanentError that names it if it is invalid."""
    try:
        return Policy.model_validate_json(normalize_utf8(data))
    except EncodingError as error:
        raise PermanentError(
            ErrorCode.BAD_POLICY, f"{label}: {error}. Save it as UTF-8 and upload the video again."
        ) from error
    except ValidationError as error:
        problems = describe_problems(error)
        raise PermanentError(
            ErrorCode.BAD_POLICY, f"{label}: {problems}. Correct it and upload the video again."
        ) from error


def find_replacement(bucket: str, channel: str) -> ObjectRef:
    """Return the replacement picture of the mode "image". Raises PermanentError if it is missing or too large."""
    name = object_names.replacement(channel)
    blob = objects.find_blob(bucket, name)
    if blob is None:
        raise PermanentError(
            ErrorCode.NO_REPLACEMENT,
            f'{object_names.owner_name(object_names.policy(channel))} has the mode "image", but '
            f"{object_names.owner_name(name)} is missing. Upload the picture that covers faces, or choose "
            "another mode.",
        )
    _require_size(blob, settings().max_picture_bytes, ErrorCode.BAD_REPLACEMENT)
    return objects.reference(blob)


def list_targets(bucket: str, channel: str) -> tuple[TargetPicture, ...]:
    """Return the channel's target pictures, sorted by name. Without any, everyone is hidden.

    Raises PermanentError for a misplaced file, and if the pictures are more, or larger, than allowed.
    """
    folder = read_targets_folder(bucket, channel)
    if folder.misplaced:
        raise PermanentError(
            ErrorCode.BAD_TARGET,
            f"{object_names.owner_name(folder.misplaced[0])} is not in the folder of a person. Move it to "
            "targets/PERSON/, or delete it. Then upload the video again.",
        )
    return folder.pictures


def read_targets_folder(bucket: str, channel: str) -> TargetsFolder:
    """Return the files of the channel's folder `targets/` without by-products of systems.

    Raises PermanentError if the pictures are more, or larger, than allowed.
    """
    limits = settings()
    pictures, misplaced, size, listed = [], [], 0, 0
    for blob in _list(bucket, object_names.targets_prefix(channel)):
        listed += 1
        if is_by_product(blob.name):
            continue
        person = object_names.parse_target(blob.name)
        if person is None:
            misplaced.append(blob.name)
            continue
        _require_size(blob, limits.max_picture_bytes, ErrorCode.BAD_TARGET)
        size += blob.size
        pictures.append(TargetPicture(person, objects.reference(blob)))
    if ignored := listed - len(pictures) - len(misplaced):
        log.info("ignored by-products in the folder of target pictures", ignored=ignored)
    if len(pictures) > limits.max_target_pictures or size > limits.max_targets_bytes or listed == MAX_LISTED:
        raise PermanentError(
            ErrorCode.TOO_MANY_TARGETS,
            f"The channel has {pluralize(len(pictures), 'target picture')} of {_mebibytes(size)} in total, among "
            f"{pluralize(listed, 'object')}. At most {limits.max_target_pictures} of "
            f"{_mebibytes(limits.max_targets_bytes)} are allowed, among fewer than {MAX_LISTED} objects. Remove some.",
        )
    return TargetsFolder(tuple(pictures), tuple(misplaced))


def find_name_problem(name: str) -> str | None:
    """Return why a channel can't have this name, as a sentence; None if it can."""
    if not name or "/" in name:
        return "A channel's name must not be empty or have a slash. Choose another name."
    problem = object_names.VideoName(name, "video.mp4").problem
    return f"A channel can't have this name: {problem}. Choose another name." if problem else None


def list_channels(bucket: str) -> list[str]:
    """Return the channels: the folders below `channels/` in the intake bucket."""
    folders = objects.list_folders(bucket, object_names.CHANNELS)
    names = (folder.removeprefix(object_names.CHANNELS).removesuffix("/") for folder in folders)
    return [name for name in names if not find_name_problem(name)]


def list_kept_people(channel: str) -> tuple[str, ...]:
    """Return the people that the channel's target pictures name."""
    blobs = objects.list_blobs(settings().intake_bucket, object_names.targets_prefix(channel))
    return object_names.list_people(blob.name for blob in blobs)


def _list(bucket: str, prefix: str) -> list[Blob]:
    """List the objects of a prefix, sorted by name, up to MAX_LISTED."""
    with transient_errors_as_retryable("listing target pictures"):
        blobs = objects.client().list_blobs(bucket, prefix=prefix, retry=objects.retries())
        return sorted(islice(blobs, MAX_LISTED), key=lambda blob: blob.name)


def _require_size(blob: Blob, limit: int, code: ErrorCode) -> None:
    if blob.size > limit:
        raise PermanentError(
            code,
            f"{object_names.owner_name(blob.name)} has {blob.size} bytes, at most {limit} are allowed. "
            "Upload a smaller file.",
        )


def describe_problems(error: ValidationError) -> str:
    """Describe the problems of a policy: the field, the value and the allowed values."""
    problems = []
    errors = error.errors(include_url=False)
    for item in errors[:MAX_REPORTED_PROBLEMS]:
        field = _shorten(".".join(str(part) for part in item["loc"]))
        if item["type"] == "extra_forbidden":
            problems.append(f'"{field}" is not a field (fields: {", ".join(Policy.model_fields)})')
        elif field:
            problems.append(f'"{field}" is {_shorten(repr(item["input"]))}: {_lower_first(item["msg"])}')
        else:
            problems.append(_lower_first(item["msg"].removeprefix("Value error, ")))
    if len(errors) > MAX_REPORTED_PROBLEMS:
        problems.append(f"and {len(errors) - MAX_REPORTED_PROBLEMS} more")
    return "; ".join(problems)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_REPORTED_CHARACTERS else f"{text[:MAX_REPORTED_CHARACTERS]}..."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _mebibytes(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MiB"
