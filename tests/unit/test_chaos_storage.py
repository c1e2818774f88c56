"""The functions' storage client recovers from every fault of the storage proxy."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from google.api_core.exceptions import PreconditionFailed
from google.cloud.storage.retry import DEFAULT_RETRY

from defacer.pipeline.documents.base import ObjectRef
from defacer.pipeline.documents.job_records import Lease
from defacer.pipeline.storage import object_names, objects
from defacer_emulator.chaos.plan import MAX_STRUCK_OCCURRENCES, Plan
from defacer_emulator.chaos.setup import Run, Setup
from defacer_emulator.chaos.storage_proxy import COMMON_FAULTS, StorageProxy
from defacer_emulator.processes.ports import free_ports
from tests.cloud import PROJECT, Buckets, Environment
from tests.proxy import serving
from tests.soak.journal import JournalCounts, read_journal

JOB = "0123456789abcdef0123"
BIG = bytes(range(256)) * 40_000  # 10 MB: uploaded in two chunks


@dataclass
class FaultyProxy:
    """A running proxy, and its journal."""

    lines: list[str] = field(default_factory=list)

    def journal(self) -> JournalCounts:
        return read_journal("\n".join(self.lines))


class StartProxy(Protocol):
    """Starts a proxy with a plan, and points the functions' client at it."""

    def __call__(self, plan: Plan) -> FaultyProxy: ...


@pytest.fixture
def start_proxy(
    storage_address: str, buckets: Buckets, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartProxy]:
    monkeypatch.setattr(objects, "DEFAULT_RETRY", DEFAULT_RETRY.with_delay(initial=0.02, maximum=0.2))
    with ExitStack() as stack:

        def start(plan: Plan) -> FaultyProxy:
            running = FaultyProxy()
            (port,) = free_ports(1)
            setup = Setup(
                plan=plan, project=PROJECT, mark="NONE=1", storage_url=storage_address, pubsub_host="",
                function_urls={}, storage_port=port, pubsub_port=0, push_port=0,
            )  # fmt: skip
            proxy = StorageProxy(Run(setup, running.lines.append))
            address = stack.enter_context(serving(proxy.handle, port))
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
            environment()
            return running

        yield start


@pytest.mark.parametrize("fault", COMMON_FAULTS)
def test_client_recovers_from_each_fault(fault: str, start_proxy: StartProxy, buckets: Buckets) -> None:
    proxy = start_proxy(Plan(seed=2, rates={fault: 0.7}))
    name = f"jobs/{JOB}/note.json"

    ref = objects.write_once(buckets.work, name, b"first")
    assert objects.read(ref) == b"first"
    ref = objects.replace(buckets.work, name, b"second", generation=ref.generation)
    assert [found.name for found in objects.list_all(buckets.work, f"jobs/{JOB}/")] == [name]
    assert objects.read(ref) == b"second"
    objects.delete(ref)
    assert objects.find_blob(buckets.work, name) is None

    assert set(proxy.journal().faults) == {fault}
    assert proxy.journal().faults[fault] >= MAX_STRUCK_OCCURRENCES


@pytest.mark.parametrize("fault", ["storage-503", "storage-lost", "storage-cut"])
def test_chunked_upload_recovers_from_faults(fault: str, start_proxy: StartProxy, buckets: Buckets) -> None:
    proxy = start_proxy(Plan(seed=4, rates={fault: 0.6}))

    ref = objects.write_once(buckets.work, f"jobs/{JOB}/big.nut", BIG)

    assert objects.read(ref) == BIG
    assert proxy.journal().faults[fault] > 0


def test_lease_looks_expired_to_its_reader_only(start_proxy: StartProxy, buckets: Buckets) -> None:
    start_proxy(Plan(seed=1, rates={"lease-jump": 1.0}))
    until = datetime.now(UTC) + timedelta(hours=1)
    lease = Lease(holder="1", token="t", expires_at=until, attempts=1)  # noqa: S106 - no password
    name = object_names.segment_lease(JOB, "detect", 0)
    objects.write_once(buckets.work, name, lease.model_dump_json().encode())

    seen = [objects.find_json(buckets.work, name, Lease) for _ in range(MAX_STRUCK_OCCURRENCES + 1)]

    assert [found[0].expires_at == until for found in seen if found] == [False] * MAX_STRUCK_OCCURRENCES + [
        True
    ]
    assert Lease.model_validate_json(buckets.get(buckets.work, name)) == lease


def overwrite(buckets: Buckets, name: str) -> tuple[ObjectRef, ObjectRef]:
    return buckets.put(buckets.work, name, b"old"), buckets.put(buckets.work, name, b"new")


def test_preconditions_that_the_server_ignores_are_enforced(
    start_proxy: StartProxy, buckets: Buckets
) -> None:
    start_proxy(Plan(seed=1, rates={}))
    old, new = overwrite(buckets, "a.txt")
    bucket = objects.client().bucket(buckets.work)

    def assert_rejected(change: Callable[[], object]) -> None:
        with pytest.raises(PreconditionFailed):
            change()

    assert_rejected(lambda: bucket.blob("a.txt").delete(if_generation_match=old.generation))
    assert_rejected(
        lambda: bucket.blob("a.txt").rewrite(bucket.blob("a.txt"), if_generation_match=old.generation)
    )
    assert_rejected(
        lambda: bucket.blob("a.txt").compose([bucket.blob("a.txt")], if_generation_match=old.generation)
    )
    chunked = bucket.blob("a.txt", chunk_size=8 * 1024 * 1024)
    assert_rejected(lambda: chunked.upload_from_string(BIG, if_generation_match=old.generation))

    assert buckets.get(buckets.work, "a.txt") == b"new"
    bucket.blob("a.txt").delete(if_generation_match=new.generation)
    assert buckets.names(buckets.work) == []


def test_journal_has_each_output_version_by_name_hash(
    start_proxy: StartProxy, buckets: Buckets, environment: Environment
) -> None:
    buckets.client.create_bucket(f"{PROJECT}-output")
    proxy = start_proxy(Plan(seed=1, rates={}))

    first = objects.write_once(f"{PROJECT}-output", "channels/a/secret.mp4", b"1")
    second = objects.replace(f"{PROJECT}-output", "channels/a/secret.mp4", b"2", generation=first.generation)

    (versions,) = proxy.journal().writes.values()
    assert versions == {str(first.generation), str(second.generation)}
    assert "secret" not in str(proxy.lines)
