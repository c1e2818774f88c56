"""The sample video of the start page."""

from collections.abc import Callable

from tests.cloud import Buckets
from tests.console.visitor import PAGE, Visitor


def test_sample_is_uploaded_once_with_its_target(
    visitor: Visitor, buckets: Buckets, environment: Callable[..., None]
) -> None:
    assert "Try it with a sample video" not in visitor.open(visitor.address)
    assert visitor.post(f"{visitor.address}/sample").status_code == 404
    environment(console_origins=visitor.address, console_sample="tests.console.small_sample")
    assert "Try it with a sample video" in visitor.open(visitor.address)
    for _ in range(2):
        answer = visitor.post(f"{visitor.address}/sample", {}, PAGE)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/channels/sample/jobs")
    assert buckets.names(buckets.intake) == [
        "channels/sample/targets/Eileen/Eileen.png",
        "channels/sample/videos/sample.mp4",
    ]
    assert buckets.blob(buckets.intake, "channels/sample/videos/sample.mp4").generation


def test_sample_that_fails_is_a_message(visitor: Visitor, environment: Callable[..., None]) -> None:
    environment(console_origins=visitor.address, console_sample="tests.console.no_such_module")
    answer = visitor.post(f"{visitor.address}/sample")
    assert answer.status_code == 500
    assert "The sample can't be generated here." in answer.json()["error"]
