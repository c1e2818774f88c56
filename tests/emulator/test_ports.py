"""The ports of an emulator: fixed default ports for users, free ports where several emulators run at once."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from defacer.commands.app import main
from defacer_emulator.commands import up
from defacer_emulator.emulator import Emulator, EmulatorOptions
from defacer_emulator.errors import EmulatorError, EmulatorUsageError
from defacer_emulator.processes import ports
from defacer_emulator.processes.ports import SERVICES, ServicePort, choose_ports, free_ports
from defacer_emulator.processes.supervisor import HOST
from tests.console.browser import Window, launch_browser

CHUNK_BYTES = 16 * 1024 * 1024  # the chunk of an upload (functions/defacer/web/console/static/upload.js)


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Replace the default ports by ports that are free on this machine."""
    numbers = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    services = {name: ServicePort(SERVICES[name].title, number) for name, number in numbers.items()}
    monkeypatch.setattr(ports, "SERVICES", services)
    return numbers


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port that another program uses, on all addresses."""
    with socket.create_server(("", 0)) as other:
        yield other.getsockname()[1]


def test_default_ports_are_those_of_other_emulators() -> None:
    found = {name: service.default for name, service in SERVICES.items()}
    assert found == {"console": 8080, "live": 8081, "storage": 4443, "browser-storage": 4444, "pubsub": 8085}


def test_free_default_ports_are_used(defaults: dict[str, int]) -> None:
    assert choose_ports({}, use_defaults=True) == (defaults, [])


def test_default_port_in_use_is_replaced_with_a_notice(
    defaults: dict[str, int], monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setattr(ports, "SERVICES", {**ports.SERVICES, "storage": ServicePort("Cloud Storage", taken)})
    found, (notice,) = choose_ports({}, use_defaults=True)
    assert found["storage"] not in (taken, *defaults.values())
    assert {**found, "storage": 0} == {**defaults, "storage": 0}
    assert notice == (
        f"Port {taken} is in use: Cloud Storage listens on {found['storage']} this time. "
        "--port storage=PORT chooses another port."
    )


def test_chosen_port_in_use_raises(taken: int) -> None:
    with pytest.raises(EmulatorUsageError, match=f"Port {taken} for the console is in use.*--port console="):
        choose_ports({"console": taken}, use_defaults=True)


def test_one_port_for_two_services_raises() -> None:
    (port,) = free_ports(1)
    with pytest.raises(EmulatorUsageError, match=f"Port {port} is chosen for two services"):
        choose_ports({"console": port, "live": port}, use_defaults=False)


def test_chosen_port_is_not_used_by_the_service_that_prefers_it(defaults: dict[str, int]) -> None:
    found, notices = choose_ports({"live": defaults["console"]}, use_defaults=True)
    assert found["live"] == defaults["console"]
    assert found["console"] not in defaults.values()
    assert len(notices) == 1


def test_emulator_without_default_ports_uses_free_ports(defaults: dict[str, int]) -> None:
    for chosen in ({}, dict.fromkeys(SERVICES, 0)):
        found, notices = choose_ports(chosen, use_defaults=bool(chosen))
        assert not set(found.values()) & set(defaults.values())
        assert (len(set(found.values())), notices) == (len(SERVICES), [])


def test_only_command_up_uses_the_default_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[EmulatorOptions] = []
    monkeypatch.setattr(up, "run_emulator", lambda options, **_: seen.append(options))
    main(["emulator", "up", "--dir", str(tmp_path), "--port", "console=9000", "--port", "browser-storage=0"])
    assert (seen[0].ports, seen[0].default_ports) == ({"console": 9000, "browser-storage": 0}, True)
    assert (EmulatorOptions().ports, EmulatorOptions().default_ports) == (
        {},
        False,
    )  # those of the demo and the tests


def test_pubsub_port_taken_during_the_start_is_reported(
    stand_ins: Path, tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, _ = choose_ports({}, use_defaults=False)
    monkeypatch.setattr(
        "defacer_emulator.emulator.choose_ports", lambda *_, **__: ({**chosen, "pubsub": taken}, [])
    )
    with pytest.raises(EmulatorError, match=rf"(?s)pubsub ended unexpectedly.*127\.0\.0\.1:{taken}"):
        Emulator(EmulatorOptions(tmp_path / "state", "builtin", functions=stand_ins)).__enter__()


@pytest.mark.slow
def test_upload_and_urls_survive_a_restart(stand_ins: Path, defaults: dict[str, int], tmp_path: Path) -> None:
    options = EmulatorOptions(
        tmp_path / "state", "builtin", functions=stand_ins, console=True, default_ports=True
    )
    file = tmp_path / "walk.mp4"
    file.write_bytes(bytes(range(256)) * (CHUNK_BYTES // 256 + 1))

    def cut(route: Route) -> None:
        first = "bytes 0-" in route.request.headers.get("content-range", "")
        route.continue_() if first else route.abort("connectionreset")

    with launch_browser() as browser:
        page = Window(browser.new_page()).page
        with Emulator(options) as emulator:
            before = emulator.state
            assert before.console_url == f"http://{HOST}:{defaults['console']}"
            page.goto(f"{before.console_url}/channels/street/upload")
            page.route("**/upload/**", cut)
            page.get_by_label("Choose videos").set_input_files(file)
            expect(page.get_by_text("The connection was lost").first).to_be_visible()
        page.unroute("**/upload/**")
        with Emulator(options) as emulator:
            assert emulator.state.environment() == before.environment()
            assert (emulator.state.console_url, emulator.notices) == (before.console_url, ())
            expect(page.get_by_text("Upload complete").first).to_be_visible()
            blob = (
                emulator.storage_client().bucket(emulator.intake).get_blob("channels/street/videos/walk.mp4")
            )
            assert blob.download_as_bytes() == file.read_bytes()
