"""The names of all objects. They are built and parsed here and nowhere else.

intake   channels/NAME/videos/**                      a video; each upload is a job
         channels/NAME/targets/PERSON/*               a target picture (or targets/PERSON.jpg)
         channels/NAME/policy.json                    the policy
         channels/NAME/replacement.png                the picture for the mode "image"
         channels/NAME/rerender/JOB.json              a request to re-render the video of that upload
         channels/NAME/confirmations/JOB.json         a person's confirmation of a job that waits for it
work     jobs/ID/manifest.json, gallery-HASH.npz, segment-detections/*, faces.jsonl, segments/*, leases/*, merge/*,
         bugs/*, link-lease.json, merge-lease.json, verdict.json, published.json, failed.json
         waiting/ID.json                              an entry in the list of the jobs that wait for a person
         turns/CHANNEL/ID.json                        the turn of a job in its channel, by a hash of the channel
         minutes/CHANNEL/DAY/ID.json                  the length of a video that was uploaded on that day
output   channels/NAME/X.mp4, X.report.jsonl; the metadata of both names the upload and the job
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from defacer.by_products import is_beside_videos, is_by_product

if TYPE_CHECKING:  # `make demo` checks names before any package is installed
    from collections.abc import Iterable

    from defacer.pipeline.documents.base import ObjectRef

CHANNELS = "channels/"
JOBS = "jobs/"
WAITING = "waiting/"
TURNS = "turns/"
MINUTES = "minutes/"
JOB_ID_LENGTH = 20
# Keys of metadata. The first three are on results and reports.
OF_JOB = "defacer-job"
OF_SOURCE = "defacer-source"
OF_SOURCE_GENERATION = "defacer-source-generation"
OF_STATE = "defacer-state"  # of a verdict
OF_REVIEW_END = "defacer-review-end"  # until when a job waits for a person, on its faces
OF_SECONDS = "defacer-seconds"  # the time that a step of a segment took, on its output
OF_RERENDER = "defacer-rerender"  # the generation of the re-render request
OF_SEGMENTS = "defacer-segments"  # the number of segments, on the manifest and on a turn
OF_TURN = "defacer-turn"  # whether the upload of a turn waits or was called
OF_URGENT = "defacer-urgent"  # on the turn of a re-render or a confirmed job
OF_STEP = "defacer-"  # the beginning of the marks of a step, on the manifest
MAX_NAME_BYTES = 1024  # https://cloud.google.com/storage/docs/objects#naming

_CHANNEL = r"channels/(?P<channel>[^/]+)"
_VIDEO = re.compile(_CHANNEL + r"/videos/(?P<path>.*[^/])", re.DOTALL)
_TARGET = re.compile(_CHANNEL + r"/targets/(?P<path>.*[^/])", re.DOTALL)
_RERENDER = re.compile(_CHANNEL + rf"/rerender/(?P<upload>[0-9a-f]{{{JOB_ID_LENGTH}}})\.json", re.DOTALL)
_CONFIRMATION = re.compile(
    _CHANNEL + rf"/confirmations/(?P<job>[0-9a-f]{{{JOB_ID_LENGTH}}})\.json", re.DOTALL
)
_WAITING = re.compile(rf"waiting/(?P<job>[0-9a-f]{{{JOB_ID_LENGTH}}})\.json")
_TURN = re.compile(rf"turns/[0-9a-f]+/(?P<job>[0-9a-f]{{{JOB_ID_LENGTH}}})\.json")
_OWN = re.compile(_CHANNEL + r"/(?:videos/)?(?P<path>.+)", re.DOTALL)
_JOB_ID = re.compile(rf"[0-9a-f]{{{JOB_ID_LENGTH}}}")
_JOB_OBJECT = re.compile(rf"jobs/(?P<job>[0-9a-f]{{{JOB_ID_LENGTH}}})/(?P<rest>.+)", re.DOTALL)
_SEGMENT = r"(?P<index>[0-9]{5})(?:-(?P<subsegment>[01]+))?"
_SUBSEGMENT = {
    "detect": re.compile(rf"segment-detections/{_SEGMENT}\.(?P<kind>npz|split)"),
    "redact": re.compile(rf"segments/{_SEGMENT}\.(?P<kind>json|split)"),
}


@dataclass(frozen=True)
class VideoName:
    """The name of a video in the intake bucket. `path` follows `channels/CHANNEL/videos/`."""

    channel: str
    path: str

    @property
    def object_name(self) -> str:
        return f"channels/{self.channel}/videos/{self.path}"

    @property
    def result(self) -> str:
        """The result: `X.mp4` keeps its name. `X.mov` becomes `X.mov.mp4`, because `X.mp4` might exist too."""
        path = self.path if self.path.lower().endswith(".mp4") else f"{self.path}.mp4"
        return f"channels/{self.channel}/{path}"

    @property
    def report(self) -> str:
        """The report: `X.report.jsonl` for `X.mp4`, and `X.MP4.report.jsonl` for `X.MP4`, because both might exist."""
        return self.result.removesuffix(".mp4") + ".report.jsonl"

    @property
    def problem(self) -> str | None:
        """Why this video can't be processed, as the end of a sentence; None if it can.

        A program that copies the bucket to a disk takes `..` for the parent folder, and a terminal interprets control
        characters.
        """
        name = self.object_name
        if {".", ".."} & set(name.split("/")):
            return 'its name has a part that is "." or ".."'
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            return "its name has a control character, such as a line break"
        if is_beside_videos(name):
            return "files of this name are by-products of systems or cameras, which De-facer ignores"
        size = max(len(made.encode()) for made in (name, self.result, self.report))
        if size > MAX_NAME_BYTES:
            return (
                f"its name is too long: the names of the result and the report would have up to {size} bytes, and "
                f"Cloud Storage allows {MAX_NAME_BYTES}"
            )
        return None


def download_name(result: str, suffix: str = ".mp4") -> str:
    """Return the file name for a download of a result, or of its report with the suffix `.report.jsonl`.

    `channels/NAME/walk.mp4` becomes `walk.defaced.mp4`, because a file `walk.mp4` might be the unredacted source.
    """
    name = PurePosixPath(result).name
    stem = name[: -len(".mp4")] if name.lower().endswith(".mp4") else name
    return f"{stem}.defaced{suffix}"


def is_object_name(name: str) -> bool:
    """Return whether an object can have this name. Cloud Storage answers a request for any other name with 400."""
    return 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES and not {"\r", "\n"} & set(name)


def parse_video(object_name: str) -> VideoName | None:
    """Parse the name of a video. Return None for any other name, such as a by-product of a camera."""
    match = _VIDEO.fullmatch(object_name)
    return VideoName(match["channel"], match["path"]) if match and not is_beside_videos(object_name) else None


def parse_target(object_name: str) -> str | None:
    """Return the person of a target picture; None for any other name.

    `targets/PERSON.jpg` and `targets/PERSON/anything` both name PERSON. The content decides whether it is a picture.
    """
    match = _TARGET.fullmatch(object_name)
    if not match or is_by_product(object_name):
        return None
    parts = match["path"].split("/")
    if len(parts) > 2 or {"", ".", ".."} & set(parts) or (len(parts) == 1 and parts[0].startswith(".")):
        return None
    return PurePosixPath(parts[0]).stem if len(parts) == 1 else parts[0]


@dataclass(frozen=True)
class RerenderName:
    """The name of a re-render request. `upload` is the job of the video's upload.

    Each upload has one request object. A later request overwrites it, so the latest one has the highest generation.
    """

    channel: str
    upload: str

    @property
    def object_name(self) -> str:
        return f"{rerender_prefix(self.channel)}{self.upload}.json"


def rerender_prefix(channel: str) -> str:
    return f"channels/{channel}/rerender/"


def parse_rerender(object_name: str) -> RerenderName | None:
    """Parse the name of a re-render request. Return None for any other name."""
    match = _RERENDER.fullmatch(object_name)
    return RerenderName(match["channel"], match["upload"]) if match else None


@dataclass(frozen=True)
class ConfirmationName:
    """The name of a person's confirmation of a job."""

    channel: str
    job: str

    @property
    def object_name(self) -> str:
        return f"{confirmations_prefix(self.channel)}{self.job}.json"


def confirmations_prefix(channel: str) -> str:
    return f"channels/{channel}/confirmations/"


def parse_confirmation(object_name: str) -> ConfirmationName | None:
    """Parse the name of a confirmation. Return None for any other name."""
    match = _CONFIRMATION.fullmatch(object_name)
    return ConfirmationName(match["channel"], match["job"]) if match else None


def owner_name(object_name: str) -> str:
    """Return the name of an object for messages to the channel's owner.

    For a video it is the path below `videos/`, else the path in the channel: `policy.json`, `targets/Ada/1.png`.
    """
    if parse_rerender(object_name) or parse_confirmation(object_name):
        return "The video"
    match = _OWN.fullmatch(object_name)
    return match["path"] if match else "A file of this job"


def channel_of_input(object_name: str) -> str | None:
    """Return the channel of an intake object that starts a job; None for any other object."""
    found = parse_video(object_name) or parse_rerender(object_name)
    return found.channel if found else None


def channel_prefix(channel: str) -> str:
    """Return the prefix of all objects of a channel, in the intake and in the output bucket."""
    return f"channels/{channel}/"


def videos_prefix(channel: str) -> str:
    return f"channels/{channel}/videos/"


def is_of_person(object_name: str, person: str) -> bool:
    """Return whether the name is `targets/PERSON.anything` or begins with `targets/PERSON/`, picture or not."""
    match = _TARGET.fullmatch(object_name)
    path = PurePosixPath(match["path"]) if match else None
    return path is not None and is_same_name(path.stem if len(path.parts) == 1 else path.parts[0], person)


def is_same_name(one: str, other: str) -> bool:
    """Return whether two names of people are equal in NFC. A Mac writes an accent as its own character (NFD)."""
    return _normalize(one) == _normalize(other)


def list_people(object_names: Iterable[str]) -> tuple[str, ...]:
    """Return the people of the target pictures among these names, sorted."""
    return tuple(sorted({person for person in map(parse_target, object_names) if person}))


def mentions_target(text: str, person: str) -> bool:
    """Return whether a text, such as the reason of a failure, contains the name of a target picture of this person."""
    folder_or_file = re.escape(_normalize(f"targets/{person}"))
    return re.search(rf"\b{folder_or_file}(/|\.\w| |$)", _normalize(text), re.IGNORECASE) is not None


def targets_prefix(channel: str) -> str:
    return f"channels/{channel}/targets/"


def policy(channel: str) -> str:
    return f"channels/{channel}/policy.json"


def replacement(channel: str) -> str:
    return f"channels/{channel}/replacement.png"


def job_id(bucket: str, object_name: str, generation: int) -> str:
    """Return the job of an upload. A duplicate message yields the same job, a new generation another one.

    The id has 20 hex digits (80 bits) of SHA-256, which is short enough to read out and too long to collide.
    """
    return hashlib.sha256(f"{bucket}\n{object_name}\n{generation}".encode()).hexdigest()[:JOB_ID_LENGTH]


def job_of(ref: ObjectRef) -> str:
    """Return the job that this upload or this re-render request starts."""
    return job_id(ref.bucket, ref.name, ref.generation)


def rerender_request(source: ObjectRef) -> str:
    """Return the name of the request to re-render the video of this upload."""
    return RerenderName(channel_of_input(source.name) or "", job_of(source)).object_name


def is_job_id(text: str) -> bool:
    return _JOB_ID.fullmatch(text) is not None


def job_prefix(job: str) -> str:
    return f"jobs/{job}/"


def manifest(job: str) -> str:
    return f"jobs/{job}/manifest.json"


def holds_embeddings(object_name: str) -> bool:
    """Return whether an object of a job is its gallery, or the detections of a segment."""
    match = _JOB_OBJECT.fullmatch(object_name)
    return match is not None and match["rest"].startswith(("segment-detections/", "gallery-"))


def gallery_prefix(job: str) -> str:
    return f"jobs/{job}/gallery-"


def gallery(job: str, digest: str) -> str:
    """Return the name of the targets' embeddings, which has the digest of their content.

    Two plannings of one job might read different pictures. The manifest names the gallery that is valid.
    """
    return f"{gallery_prefix(job)}{digest[:16]}.npz"


def segment_detections_prefix(job: str) -> str:
    return f"jobs/{job}/segment-detections/"


def segment_detections(job: str, index: int, subsegment: str = "") -> str:
    """Return the name of the detections of a segment or subsegment, with embeddings. Writing it commits "detect"."""
    return f"{segment_detections_prefix(job)}{_number_of(index, subsegment)}.npz"


def faces(job: str) -> str:
    """Return the name of all tracks of the video and their decisions. Writing it commits the linking."""
    return f"jobs/{job}/faces.jsonl"


def verdict(job: str) -> str:
    """Return the name of the verdict, which is written before the job is published or fails."""
    return f"jobs/{job}/verdict.json"


def published(job: str) -> str:
    return f"jobs/{job}/published.json"


def failed(job: str) -> str:
    return f"jobs/{job}/failed.json"


def stored_command(name: str) -> str:
    """Return the name of a command line for the Cloud Run job, or of its output."""
    return f"commands/{name}"


def waiting_entry(job: str) -> str:
    """Return the name of a job's entry in the list of the jobs that wait for a person."""
    return f"{WAITING}{job}.json"


def parse_waiting_entry(object_name: str) -> str | None:
    """Return the job of an entry in the list of waiting jobs. Return None for any other name."""
    match = _WAITING.fullmatch(object_name)
    return match["job"] if match else None


def turns_prefix(channel: str) -> str:
    return f"{TURNS}{_hash_of(channel)}/"


def turn(channel: str, job: str) -> str:
    """Return the name of a job's turn in the list of its channel."""
    return f"{turns_prefix(channel)}{job}.json"


def parse_turn(object_name: str) -> str | None:
    """Return the job of a turn. Return None for any other name."""
    match = _TURN.fullmatch(object_name)
    return match["job"] if match else None


def minutes_prefix(channel: str, day: str) -> str:
    """Return the prefix of the lengths of the channel's videos of one day, `YYYY-MM-DD`."""
    return f"{MINUTES}{_hash_of(channel)}/{day}/"


def link_lease(job: str) -> str:
    return f"jobs/{job}/link-lease.json"


def merge_lease(job: str) -> str:
    return f"jobs/{job}/merge-lease.json"


def is_lease(object_name: str) -> bool:
    """Return whether a job's object is a lease."""
    match = _JOB_OBJECT.fullmatch(object_name)
    return match is not None and (
        match["rest"] in ("link-lease.json", "merge-lease.json") or match["rest"].startswith("leases/")
    )


def segment_lease(job: str, step: str, index: int, subsegment: str = "") -> str:
    return f"jobs/{job}/leases/{segment_step(step, index, subsegment)}.json"


def segment_step(step: str, index: int, subsegment: str = "") -> str:
    """Return the name of a step of a segment within its job, such as `detect-00003`."""
    return f"{step}-{_number_of(index, subsegment)}"


def leases_prefix(job: str) -> str:
    """Return the folder of the segments' leases. Its own leases are beside its state, for one listing."""
    return f"jobs/{job}/leases/"


def bugs_prefix(job: str, stage: str, work_key: str = "") -> str:
    """Return the prefix of a stage's records of programming errors, or of those about the work of this key."""
    return f"jobs/{job}/bugs/{stage}/" + (f"{work_key}/" if work_key else "")


def segments_prefix(job: str) -> str:
    return f"jobs/{job}/segments/"


def merge_prefix(job: str) -> str:
    return f"jobs/{job}/merge/"


def merge_part(job: str, token: str, part: str) -> str:
    """Return the name of a part of an unfinished result. Each holder of the lease has its own `token`."""
    return f"{merge_prefix(job)}{token}.{part}"


def segment_video(job: str, index: int, digest: str, subsegment: str = "") -> str:
    """Return the name of a redacted segment or subsegment. The digest keeps two workers from overwriting each other."""
    return f"{segments_prefix(job)}{_number_of(index, subsegment)}-{digest[:16]}.nut"


def segment_report(job: str, index: int, subsegment: str = "") -> str:
    """Return the name of the report of a redacted segment or subsegment. Writing it commits "redact"."""
    return f"{segments_prefix(job)}{_number_of(index, subsegment)}.json"


def step_prefix(job: str, step: str) -> str:
    """Return the prefix of a step's outputs."""
    return segment_detections_prefix(job) if step == "detect" else segments_prefix(job)


def step_output(job: str, step: str, index: int, subsegment: str = "") -> str:
    """Return the name of a step's output. Writing it commits the step of this segment or subsegment."""
    return (segment_detections if step == "detect" else segment_report)(job, index, subsegment)


def split_mark(job: str, step: str, index: int, subsegment: str) -> str:
    """Return the name of the mark that a segment or subsegment was split. It is stored beside the step's outputs."""
    return f"{step_prefix(job, step)}{_number_of(index, subsegment)}.split"


@dataclass(frozen=True)
class SubsegmentName:
    """The name of a step's output for a segment or subsegment, or of the mark that it was split."""

    job: str
    step: str
    index: int
    subsegment: str
    is_split: bool


def parse_subsegment(object_name: str) -> SubsegmentName | None:
    """Parse a name of `segment_detections`, `segment_report` or `split_mark`. Return None for any other name."""
    match = _JOB_OBJECT.fullmatch(object_name)
    for step, pattern in _SUBSEGMENT.items() if match else ():
        found = pattern.fullmatch(match["rest"]) if match else None
        if match and found:
            subsegment = found["subsegment"] or ""
            return SubsegmentName(
                match["job"], step, int(found["index"]), subsegment, found["kind"] == "split"
            )
    return None


def _hash_of(channel: str) -> str:
    """Return a short name of a channel, whose own name can be too long to be a part of another one."""
    return hashlib.sha256(channel.encode(errors="surrogatepass")).hexdigest()[:JOB_ID_LENGTH]


def _normalize(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _number_of(index: int, subsegment: str) -> str:
    return f"{index:05d}-{subsegment}" if subsegment else f"{index:05d}"
