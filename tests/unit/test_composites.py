"""Composites of two people, from clips with portraits in the public domain."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.clips import Clip, admiral, astronaut, encode_picture, frame_times, write_clip
from tests.quality.composite_plans import RATE, SHORT_FRAMES, Library, Plan, plans
from tests.quality.composites import WIDTH, Composite, composites
from tests.quality.public_clips import PublicClipsError, PublicFile

FRAMES = 12  # per clip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[PublicFile, Path]:
    """Return files of two people with a clip, one of them also with a picture, and a third with only a picture."""
    folder = tmp_path_factory.mktemp("public-clips")
    made: dict[PublicFile, Path] = {}
    for person, portrait in (("p1", astronaut()), ("p2", admiral())):
        clip = Clip(FRAMES / RATE, audio=False, portrait=portrait)
        made |= cached_file(folder, person, "clip.mp4", write_clip(folder / "clip.mp4", clip).read_bytes())
    made |= cached_file(folder, "p2", "picture.png", encode_picture(admiral()))
    return made | cached_file(
        folder, "f1", "picture.jpg", encode_picture(astronaut()[:, ::-1].copy(), ".jpg")
    )


@pytest.fixture(scope="module")
def built(files: dict[PublicFile, Path]) -> dict[str, Composite]:
    folder = next(iter(files.values())).parent
    return {composite.name: composite for composite in composites(files=list(files), folder=folder)}


def test_every_kind_is_built(built: dict[str, Composite]) -> None:
    assert built.keys() == {"cuts-1", "pictures-1", "pairs-1"}
    for composite in built.values():
        assert composite.truth["frames"] == len(frame_times(composite.video))
        assert composite.truth["target_image"] is None


def test_cuts_show_people_one_after_another(built: dict[str, Composite]) -> None:
    cuts = built["cuts-1"]
    tracks = [track for _, track in sorted(face[:2] for face in graded_faces(cuts))]
    changes = [track for n, track in enumerate(tracks) if n == 0 or track != tracks[n - 1]]
    assert changes == [0, 1, 0, 1]
    assert len(tracks) > 0.9 * cuts.truth["frames"]


def test_pairs_show_people_side_by_side(built: dict[str, Composite]) -> None:
    faces = graded_faces(built["pairs-1"])
    assert {track for _, track, *_ in faces} == {0, 1}
    for _, track, _, x1, _, x2, _ in faces:
        assert (x1 + x2) / 2 < WIDTH / 2 if track == 0 else (x1 + x2) / 2 > WIDTH / 2


def test_truth_of_a_target_assigns_roles_by_person(built: dict[str, Composite]) -> None:
    pair = built["pairs-1"]
    for own, target in enumerate(pair.targets):
        truth = pair.truth_of(target)
        roles = {(track == own, role) for _, track, role, *_ in truth["faces"] if role != "ignore"}
        assert roles == {(True, "target"), (False, "other")}
        assert truth["target_image"] == str(target.picture)
        assert target.picture.exists()


def test_composites_are_built_once(files: dict[PublicFile, Path], built: dict[str, Composite]) -> None:
    folder = next(iter(files.values())).parent
    lines: list[str] = []
    again = list(composites(lines.append, ["pairs-1"], files=list(files), folder=folder))
    assert again == [built["pairs-1"]]
    assert lines == []


def test_target_picture_s_frame_is_not_shown(files: dict[PublicFile, Path]) -> None:
    library = Library(list(files), files)
    shots = [shot for plan in plans(library) for scene in plan.scenes for shot in scene]
    assert all(shot.first_frame >= 1 for shot in shots if shot.person == "p1")
    assert all(shot.file.is_clip for shot in shots if shot.person == "p2")
    assert all(shot.is_mirrored for shot in shots if shot.person == "f1")


def test_cuts_show_some_people_for_less_than_half_a_second(files: dict[PublicFile, Path]) -> None:
    plan = plan_of(files, "cuts-1")
    assert SHORT_FRAMES / RATE < 0.5
    assert SHORT_FRAMES in [shot.frames for scene in plan.scenes for shot in scene]


def test_unreadable_picture_names_repository_and_file(tmp_path: Path) -> None:
    file = PublicFile("f1", "owner/name", "0" * 40, "face.jpg", "0" * 64)
    (tmp_path / "face.jpg").write_bytes(b"RIFF....WEBP")
    library = Library([file], {file: tmp_path / "face.jpg"})
    with pytest.raises(PublicClipsError, match=r"owner/name: face\.jpg is not a picture that can be read"):
        next(library.target_images("f1"))


def test_plans_depend_only_on_the_files(files: dict[PublicFile, Path]) -> None:
    assert plan_of(files, "cuts-1") == plan_of(files, "cuts-1")


def plan_of(files: dict[PublicFile, Path], name: str) -> Plan:
    return next(plan for plan in plans(Library(list(files), files)) if plan.name == name)


def graded_faces(composite: Composite) -> list[list[Any]]:
    return [face for face in composite.truth["faces"] if face[2] == "other"]


def cached_file(folder: Path, person: str, path: str, data: bytes) -> dict[PublicFile, Path]:
    file = PublicFile(person, "owner/name", "0" * 40, path, hashlib.sha256(data).hexdigest())
    (folder / file.cached_name).write_bytes(data)
    return {file: folder / file.cached_name}
