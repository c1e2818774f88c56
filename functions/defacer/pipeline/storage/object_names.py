"""Every object name, both ways: built here and parsed here, nowhere else.

intake   channels/NAME/videos/**                      a video: every one is a job
         channels/NAME/targets/PERSON/*.jpg|png       who stays visible (or targets/PERSON.jpg|png)
         channels/NAME/policy.json                    how to hide
         channels/NAME/replacement.png                the picture for mode "image"
         channels/NAME/rerender/JOB.json              render that upload's video again, with other decisions
work     jobs/ID/manifest.json, gallery-HASH.npz, segment-detections/*, faces.jsonl, segments/*, leases/*, merge/*,
         bugs/*, link-lease.json, merge-lease.json, verdict.json, published.json, failed.json
output   channels/NAME/X.mp4, X.report.jsonl; each says in its metadata which upload and which job it is of
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

CHANNELS = "channels/"
JOBS = "jobs/"
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
JOB_ID_LENGTH = 20
BLOCK = 100  # a power of ten: the numbers of a block differ in their last digits only
# Metadata of what is published.
OF_JOB = "defacer-job"
OF_SOURCE = "defacer-source"
OF_SOURCE_GENERATION = "defacer-source-generation"
OF_STATE = "defacer-state"  # of a verdict
OF_SECONDS = "defacer-seconds"  # how long the work on it took: on what the two steps of a segment have made
OF_RERENDER = "defacer-rerender"  # the request's generation; not there on an upload's result
MAX_NAME_BYTES = 1024  # https://cloud.google.com/storage/docs/objects#naming

_CHANNEL = r"channels/(?P<channel>[^/]+)"
_VIDEO = re.compile(_CHANNEL + r"/videos/(?P<path>.*[^/])", re.DOTALL)
_TARGET = re.compile(_CHANNEL + r"/targets/(?P<path>.*[^/])", re.DOTALL)
_RERENDER = re.compile(_CHANNEL + rf"/rerender/(?P<upload>[0-9a-f]{{{JOB_ID_LENGTH}}})\.json", re.DOTALL)
_OWN = re.compile(_CHANNEL + r"/(?:videos/)?(?P<path>.+)", re.DOTALL)
_JOB_ID = re.compile(rf"[0-9a-f]{{{JOB_ID_LENGTH}}}")
_JOB_OBJECT = re.compile(rf"jobs/(?P<job>[0-9a-f]{{{JOB_ID_LENGTH}}})/(?P<rest>.+)", re.DOTALL)
_PART = r"(?P<index>[0-9]{5})(?:-(?P<part>[01]+))?"
_PIECE = {
    "detect": re.compile(rf"segment-detections/{_PART}\.(?P<kind>npz|split)"),
    "redact": re.compile(rf"segments/{_PART}\.(?P<kind>json|split)"),
}


@dataclass(frozen=True)
class VideoName:
    """An intake object that is a video: `path` is what follows `channels/CHANNEL/videos/`."""

    channel: str
    path: str

    @property
    def object_name(self) -> str:
        return f"channels/{self.channel}/videos/{self.path}"

    @property
    def result(self) -> str:
        """The output object: `X.mp4` keeps its name, `X.mov` becomes `X.mov.mp4`: `X.mp4` may be there too."""
        path = self.path if self.path.lower().endswith(".mp4") else f"{self.path}.mp4"
        return f"channels/{self.channel}/{path}"

    @property
    def report(self) -> str:
        """Return the name of the report: `X.mp4` has `X.report.jsonl`, and `X.MP4` has `X.MP4.report.jsonl`."""
        return self.result.removesuffix(".mp4") + ".report.jsonl"

    @property
    def problem(self) -> str | None:
        """Why no job can be made of a video of this name, as the end of a sentence; None if one can.

        Programs that copy a bucket to a disk take `..` for the folder above, and a terminal obeys control characters.
        """
        name = self.object_name
        if {".", ".."} & set(name.split("/")):
            return 'its name has a part that is "." or ".."'
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            return "its name has a control character, such as a line break"
        size = max(len(made.encode()) for made in (name, self.result, self.report))
        if size > MAX_NAME_BYTES:
            return (
                f"its name is too long: those of the result and the report come to {size} bytes, and Cloud Storage "
                f"takes {MAX_NAME_BYTES}"
            )
        return None


def download_name(result: str, suffix: str = ".mp4") -> str:
    """Return the file name for a download of a result, or with `.report.jsonl` of its report.

    `channels/NAME/walk.mp4` becomes `walk.defaced.mp4`: a file called `walk.mp4` might be the unredacted source.
    """
    name = PurePosixPath(result).name
    stem = name[: -len(".mp4")] if name.lower().endswith(".mp4") else name
    return f"{stem}.defaced{suffix}"


def is_object_name(name: str) -> bool:
    """Return whether an object can have this name. Cloud Storage answers questions about others with 400."""
    return 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES and not {"\r", "\n"} & set(name)


def parse_video(object_name: str) -> VideoName | None:
    """The video that an intake object's name stands for, or None if the name fits no video."""
    match = _VIDEO.fullmatch(object_name)
    return VideoName(match["channel"], match["path"]) if match else None


def parse_target(object_name: str) -> str | None:
    """The person whose target picture this intake object is, or None if it is none.

    `targets/PERSON.jpg` and `targets/PERSON/anything.png` both name PERSON; deeper folders do not count.
    """
    match = _TARGET.fullmatch(object_name)
    if not match:
        return None
    parts = match["path"].split("/")
    picture = PurePosixPath(parts[-1])
    if picture.suffix.lower() not in PICTURE_SUFFIXES or len(parts) > 2 or {"", ".", ".."} & set(parts):
        return None
    return picture.stem if len(parts) == 1 else parts[0]


@dataclass(frozen=True)
class RerenderName:
    """An intake object that asks to render a video again; `upload` is the job of that video's upload.

    There is one for each upload: whoever asks again writes over it, so the newest has the highest generation.
    """

    channel: str
    upload: str

    @property
    def object_name(self) -> str:
        return f"{rerender_prefix(self.channel)}{self.upload}.json"


def rerender_prefix(channel: str) -> str:
    return f"channels/{channel}/rerender/"


def parse_rerender(object_name: str) -> RerenderName | None:
    """The opposite of `RerenderName.object_name`; None for any other name."""
    match = _RERENDER.fullmatch(object_name)
    return RerenderName(match["channel"], match["upload"]) if match else None


def owner_name(object_name: str) -> str:
    """Return what an object of a channel is called in sentences for the channel's owner.

    A video is called by its path, everything else by its path in the channel: `policy.json`, `targets/Ada/1.png`.
    """
    if parse_rerender(object_name):
        return "The video"
    match = _OWN.fullmatch(object_name)
    return match["path"] if match else "A file of this job"


def channel_of_input(object_name: str) -> str | None:
    """The channel of an intake object that begins a job; None for any other."""
    found = parse_video(object_name) or parse_rerender(object_name)
    return found.channel if found else None


def channel_prefix(channel: str) -> str:
    """Where all objects of a channel lie, in the intake and in the output."""
    return f"channels/{channel}/"


def videos_prefix(channel: str) -> str:
    return f"channels/{channel}/videos/"


def is_of_person(object_name: str, person: str) -> bool:
    """Whether this is `targets/PERSON.anything` or lies below `targets/PERSON/`, picture or not."""
    match = _TARGET.fullmatch(object_name)
    path = PurePosixPath(match["path"]) if match else None
    return path is not None and same_name(path.stem if len(path.parts) == 1 else path.parts[0], person)


def same_name(one: str, other: str) -> bool:
    """Whether two names of people read the same: a Mac writes an accent as a character of its own (NFD)."""
    return _composed(one) == _composed(other)


def people(object_names: Iterable[str]) -> tuple[str, ...]:
    """Whom the target pictures among these name."""
    return tuple(sorted({person for person in map(parse_target, object_names) if person}))


def names_picture(text: str, person: str) -> bool:
    """Whether a text about a channel, such as why a job failed, has the name of a target picture of this person."""
    folder_or_file = re.escape(_composed(f"targets/{person}"))
    ends = "|".join(map(re.escape, ("/", *PICTURE_SUFFIXES)))
    return re.search(rf"\b{folder_or_file}({ends})", _composed(text), re.IGNORECASE) is not None


def targets_prefix(channel: str) -> str:
    return f"channels/{channel}/targets/"


def policy(channel: str) -> str:
    return f"channels/{channel}/policy.json"


def replacement(channel: str) -> str:
    return f"channels/{channel}/replacement.png"


def job_id(bucket: str, object_name: str, generation: int) -> str:
    """The job of an upload: the same upload delivered twice is one job, a new generation is another.

    Twenty hex digits (80 bits) of SHA-256: short enough to read out, long enough never to collide.
    """
    return hashlib.sha256(f"{bucket}\n{object_name}\n{generation}".encode()).hexdigest()[:JOB_ID_LENGTH]


def is_job_id(text: str) -> bool:
    return _JOB_ID.fullmatch(text) is not None


def job_prefix(job: str) -> str:
    return f"jobs/{job}/"


def manifest(job: str) -> str:
    return f"jobs/{job}/manifest.json"


def holds_embeddings(object_name: str) -> bool:
    """Whether a job's object is its gallery, or a segment's findings."""
    match = _JOB_OBJECT.fullmatch(object_name)
    return match is not None and match["rest"].startswith(("segment-detections/", "gallery-"))


def gallery_prefix(job: str) -> str:
    return f"jobs/{job}/gallery-"


def gallery(job: str, digest: str) -> str:
    """The targets' embeddings, named after their content.

    Two plannings of one job may have seen different pictures: the manifest names the one that counts.
    """
    return f"{gallery_prefix(job)}{digest[:16]}.npz"


def segment_detections_prefix(job: str) -> str:
    return f"jobs/{job}/segment-detections/"


def segment_detections(job: str, index: int, part: str = "") -> str:
    """What was seen in a segment or a part of it, embeddings among it: writing it is the commit of "detect"."""
    return f"{segment_detections_prefix(job)}{_piece(index, part)}.npz"


def faces(job: str) -> str:
    """Every face of the whole video and what becomes of it: writing it is the commit of linking."""
    return f"jobs/{job}/faces.jsonl"


def verdict(job: str) -> str:
    """Which of the two ends: written before either, and before anything is published."""
    return f"jobs/{job}/verdict.json"


def published(job: str) -> str:
    return f"jobs/{job}/published.json"


def failed(job: str) -> str:
    return f"jobs/{job}/failed.json"


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


def segment_lease(job: str, step: str, index: int, part: str = "") -> str:
    return f"jobs/{job}/leases/{segment_step(step, index, part)}.json"


def segment_step(step: str, index: int, part: str = "") -> str:
    """Return the name of a step of a segment within its job, such as `detect-00003`."""
    return f"{step}-{_piece(index, part)}"


def leases_prefix(job: str) -> str:
    """Return the folder of the segments' leases. The job's own lie beside its state: one listing shows both."""
    return f"jobs/{job}/leases/"


def bugs_prefix(job: str, stage: str, piece: str = "") -> str:
    """Return the prefix of a stage's records of programming errors, or of those about one piece of its work."""
    return f"jobs/{job}/bugs/{stage}/" + (f"{piece}/" if piece else "")


def segments_prefix(job: str) -> str:
    return f"jobs/{job}/segments/"


def merge_prefix(job: str) -> str:
    return f"jobs/{job}/merge/"


def merge_part(job: str, token: str, part: str) -> str:
    """A part of the result while it is put together; `token` is the holder's own, so no two clash."""
    return f"{merge_prefix(job)}{token}.{part}"


def segment_video(job: str, index: int, digest: str, part: str = "") -> str:
    """The video of a finished segment or part, named after its content: two workers never clash."""
    return f"{segments_prefix(job)}{_piece(index, part)}-{digest[:16]}.nut"


def segment_report(job: str, index: int, part: str = "") -> str:
    """The report of a finished segment or part. It names the video: writing it is the commit."""
    return f"{segments_prefix(job)}{_piece(index, part)}.json"


def step_prefix(job: str, step: str) -> str:
    """Where a step puts what it makes."""
    return segment_detections_prefix(job) if step == "detect" else segments_prefix(job)


def block_prefix(job: str, step: str, index: int) -> str:
    """Where it puts that of the BLOCK segments around one: their numbers begin alike."""
    return step_prefix(job, step) + _piece(index, "")[: -len(str(BLOCK - 1))]


def split_mark(job: str, step: str, index: int, part: str) -> str:
    """Says that this segment or part is done in halves. It lies beside what the step makes."""
    return f"{step_prefix(job, step)}{_piece(index, part)}.split"


@dataclass(frozen=True)
class Subsegment:
    """What a step has made of a segment, or of a part of one, or the mark that it is split."""

    job: str
    step: str
    index: int
    part: str
    is_split: bool


def parse_subsegment(object_name: str) -> Subsegment | None:
    """The opposite of `findings`, `segment_report` and `split_mark`; None for any other name."""
    match = _JOB_OBJECT.fullmatch(object_name)
    for step, pattern in _PIECE.items() if match else ():
        found = pattern.fullmatch(match["rest"]) if match else None
        if match and found:
            part = found["part"] or ""
            return Subsegment(match["job"], step, int(found["index"]), part, found["kind"] == "split")
    return None


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _piece(index: int, part: str) -> str:
    return f"{index:05d}-{part}" if part else f"{index:05d}"
