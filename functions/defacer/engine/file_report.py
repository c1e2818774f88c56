"""The report of one redacted file: its tracks with their decisions, and what the result was made with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, Self

from defacer.engine.errors import ArgumentError, EngineError
from defacer.engine.option_check import check_values
from defacer.engine.options import Options
from defacer.engine.output_paths import write_atomically
from defacer.engine.tracking.face_report import read_faces_between
from defacer.report.changes import ChangeCode, SourceChange
from defacer.report.clock import Clock
from defacer.report.faces import Faces, dump_head
from defacer.report.json_lines import ReportError, dump_track, join_report, split_report
from defacer.report.tracks import VERSION, TargetWarning, TrackRecord

# A report of an earlier version lacks options, and the report of a job has other fields too.
OPTIONS = frozenset(field.name for field in fields(Options))


@dataclass(frozen=True)
class Report:
    """The report of a redacted video. It holds no picture and no embedding.

    `changes` lists dropped, converted and corrected data, and `dropped` has the texts of the first. `checked` is
    the outcome of the check by a second detector, or None without one. `copied_frames` counts the frames that
    `copy_untouched` copied. `fingerprint` identifies the source,
    and `clock` has the corrections of its times.
    """

    faces: Faces
    options: Options
    fingerprint: str
    black_frames: int
    dropped: tuple[str, ...]
    checked: Mapping[str, Any] | None
    changes: tuple[SourceChange, ...] = ()
    clock: Clock = field(default_factory=Clock)
    copied_frames: int = 0

    @property
    def tracks(self) -> tuple[TrackRecord, ...]:
        """The faces, each with its decision and the reason."""
        return self.faces.tracks

    @property
    def warnings(self) -> tuple[TargetWarning, ...]:
        """Likely problems with the target pictures."""
        return self.faces.warnings

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Self:
        """Return the report in a file: one that De-facer wrote for a file, or the report of a job.

        Raises ArgumentError for any other file.
        """
        if not Path(path).is_file():
            raise ArgumentError(
                f"{path} does not exist. Name the report of a video, which `defacer run --report` writes."
            )
        try:
            return cls._from_bytes(Path(path).read_bytes())
        except (EngineError, ReportError) as error:
            raise ArgumentError(f"{path} can't be used as a report: {error}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArgumentError(
                f"{path} can't be used as a report: De-facer did not write it ({type(error).__name__}). "
                "Name another file."
            ) from error

    def write(self, path: str | PathLike[str]) -> None:
        """Write the report as JSON Lines. It replaces an existing file when it is complete."""
        head = {
            "version": VERSION,
            "black_frames": self.black_frames,
            "copied_frames": self.copied_frames,
            "policy": asdict(self.options),
            "fingerprint": self.fingerprint,
            "dropped": self.dropped,
            "changes": [asdict(change) for change in self.changes],
            "clock": asdict(self.clock),
            "checked": self.checked,
            "faces": json.loads(dump_head(self.faces.head)),
        }
        with write_atomically(Path(path)) as temporary:
            temporary.write_bytes(join_report(json.dumps(head).encode(), map(dump_track, self.tracks)))

    @classmethod
    def _from_bytes(cls, data: bytes) -> Self:
        head_line, lines = split_report(data)
        head = json.loads(head_line)
        options = Options(**{name: value for name, value in head["policy"].items() if name in OPTIONS})
        check_values(options)
        return cls(
            faces=read_faces_between(join_report(json.dumps(head["faces"]).encode(), lines)),
            options=options,
            fingerprint=str(head["fingerprint"]),
            black_frames=int(head.get("black_frames", 0)),
            dropped=tuple(head.get("dropped", ())),
            checked=head.get("checked"),
            changes=_read_changes(head.get("changes", ())),
            clock=_read_clock(head.get("clock", {})),
            copied_frames=int(head.get("copied_frames", 0)),
        )


def _read_changes(changes: Sequence[Mapping[str, Any]]) -> tuple[SourceChange, ...]:
    return tuple(SourceChange(ChangeCode(one["code"]), str(one["text"])) for one in changes)


def _read_clock(record: Mapping[str, Any]) -> Clock:
    given = dict(record)
    offsets, changes = given.pop("offsets", (0,)), given.pop("changes", ())
    return Clock(offsets=tuple(map(int, offsets)), changes=_read_changes(changes), **given)
