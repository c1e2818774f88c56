"""Fixtures: each function as a call that posts a push and returns the status, and jobs at each step."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.clips import Clip, write_clip
from tests.cloud import Buckets, Post, Topics
from tests.planned import Planned, link_job, plan_job

pytest.register_assert_rewrite(
    "tests.functions.ingesting",
    "tests.functions.linking",
    "tests.functions.merging",
    "tests.functions.records",
    "tests.functions.rendering",
    "tests.functions.working",
)

App = Callable[[str], FlaskClient]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a clip of two segments. A test redacts it several times, so it has few frames."""
    return write_clip(tmp_path_factory.mktemp("clips") / "walk.mp4", Clip(rate=10))


@pytest.fixture
def planned(buckets: Buckets, topics: Topics, clip: Path) -> Planned:
    return plan_job(buckets, clip)


@pytest.fixture
def linked(buckets: Buckets, planned: Planned) -> Planned:
    """The same job after linking, without faces."""
    return link_job(buckets, planned)


@pytest.fixture(params=["detect", "redact"])
def job(request: pytest.FixtureRequest, planned: Planned) -> Planned:
    """The job before and after linking, so that a test runs with both steps of a segment."""
    found: Planned = planned if request.param == "detect" else request.getfixturevalue("linked")
    return found


@pytest.fixture
def ingest(app: App) -> Post:
    return lambda push: app("ingest").post("/", json=push).status_code


@pytest.fixture
def worker(app: App) -> Post:
    return lambda push: app("worker").post("/", json=push).status_code


@pytest.fixture
def merge(app: App) -> Post:
    return lambda push: app("merge").post("/", json=push).status_code


@pytest.fixture
def dead_letter(app: App) -> Post:
    return lambda push: app("dead_letter").post("/", json=push).status_code
