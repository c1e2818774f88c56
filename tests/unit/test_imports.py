"""Who may import what: seen in a fresh interpreter, so that nothing is there from other tests."""

import ast
import re
from pathlib import Path

import pytest

from tests.modules import modules_after_importing
from tests.servers import ROOT

FUNCTIONS = ("ingest", "worker", "merge", "dead_letter", "webhook")


@pytest.mark.parametrize("function", ["ingest", "merge", "dead_letter", "webhook"])
def test_only_the_worker_imports_torch_before_it_is_called(function: str) -> None:
    loaded = modules_after_importing(f"defacer.{function}.main")
    assert not loaded & {"torch", "facenet_pytorch", "defacer.engine.engine"}


def test_the_pipeline_knows_no_engine() -> None:
    names = [
        f"defacer.pipeline.{path.stem}" for path in (ROOT / "functions/defacer/pipeline").glob("[a-z]*.py")
    ]
    loaded = modules_after_importing(", ".join(names))
    assert not [
        name
        for name in loaded
        if name.startswith("defacer.")
        and not name.startswith(("defacer.pipeline", "defacer.report"))
        and name != "defacer.plurals"
    ]
    assert not loaded & {"torch", "cv2", "av"}


def imported(path: Path) -> set[str]:
    """The packages of this product that a file imports, anywhere in it: "engine", "pipeline" ..."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        own = [name.split(".")[1:] for name in names if name.startswith("defacer.")]
        found |= {".".join(name[:2]) if name[0] == "web" else name[0] for name in own}
    return found


def test_in_each_function_one_place_sees_both_engine_and_pipeline() -> None:
    """But for those that serve pages: pictures are what they are about."""
    both = {
        str(path.relative_to(ROOT / "functions" / "defacer"))
        for path in (ROOT / "functions" / "defacer").rglob("*.py")
        if {"engine", "pipeline"} <= imported(path) and path.parent.name not in ("console", "live")
    }
    assert both == {
        "engine_host.py",
        "ingest/engine_adapter.py",
        "merge/engine_adapter.py",
        "commands/privacy/engine_adapter.py",
        "worker/engine_adapter.py",
    }


@pytest.mark.parametrize(
    ("folder", "unknown"),
    [("common", {"web.console", "web.live", "engine"}), ("console", {"web.live"}), ("live", {"web.console"})],
)
def test_the_console_and_the_live_page_meet_in_what_both_are_made_of_alone(
    folder: str, unknown: set[str]
) -> None:
    files = list((ROOT / "functions" / "defacer" / "web" / folder).rglob("*.py"))
    assert files
    assert not [path.name for path in files if imported(path) & unknown]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_entry_point_stays_under_sixty_lines(function: str) -> None:
    assert len((ROOT / "functions" / "defacer" / function / "main.py").read_text().splitlines()) < 60


def test_the_environment_is_read_in_one_module() -> None:
    pipeline = [path for path in (ROOT / "functions" / "defacer").rglob("*.py") if "engine" not in path.parts]
    readers = [path.name for path in pipeline if re.search(r"\b(environb?|getenv)\b", path.read_text())]
    assert readers == ["settings.py"]


def test_no_module_imports_another_function() -> None:
    """Shared code belongs into `pipeline`, or `engine_host.py`. `serve.py` is every function's entry point."""
    functions = {*FUNCTIONS, "web", "commands"}
    found = set()
    for folder in ("functions", "infra", "local_emulator"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).parts
            own = {parts[1]} if folder == "functions" else set()
            # The emulator's command line includes that of `commands`.
            own |= {"commands"} if folder == "local_emulator" else set()
            packages = {name.split(".")[0] for name in imported(path)}
            found |= {f"{path.relative_to(ROOT)}: {name}" for name in packages & functions - own}
    assert found == {"functions/defacer/serve.py: worker"}
