"""The rules of the layout (CONTRIBUTING.md), read from the code itself."""

import ast
import collections
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from defacer.pipeline import topology
from tests.modules import modules_after_importing, modules_of_functions
from tests.servers import ROOT

SOURCE_ROOTS = {"defacer": ROOT / "functions", "defacer_emulator": ROOT / "local_emulator"}
MAX_MODULES = 14
FUNCTIONS = ("ingest", "worker", "merge", "dead_letter", "webhook")
# What only one function or service may import.
OWNED = {f"defacer.{name}" for name in FUNCTIONS} | {"defacer.web.console", "defacer.web.live"}
START_COMMANDS = ("functions.tf", "pages.tf", "Dockerfile")

# Names that several places have by convention, with the reason.
SHARED_MODULES = {
    "__main__": "what `python -m PACKAGE` runs",
    "main": "the entry point of a function",
    "engine_adapter": "the engine of one function or page",
    "errors": "the errors of one package: engine, pipeline, emulator",
}
SHARED_CLASSES = {
    f"{network}Network": "one network, as each back end runs it"
    for network in ("CenterFace", "FaceNet", "SFace")
}
SHARED_FUNCTIONS = {"main": "what a module runs as a program"}
# The type aliases with several values.
SHARED_ALIASES = {
    "Array": "numbers of the precision that a module computes with",
    "Timed": "a packet or a frame, with its time",
}
# The folders of the engine from the bottom up. Each imports only folders of its own row and of the rows before it.
ENGINE_LAYERS = (
    ("runtime",),
    ("models",),
    ("media",),
    ("recognition",),
    ("tracking",),
    ("rendering",),
    ("verification", "corrections"),
)


def module_name(path: Path) -> str:
    """Return the dotted name of a file below one of the source roots."""
    root = next(root for root in SOURCE_ROOTS.values() if path.is_relative_to(root))
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    module_name(path): path for name, root in SOURCE_ROOTS.items() for path in (root / name).rglob("*.py")
}
PACKAGES = sorted({path.parent for path in MODULES.values()})


def imports_of(path: Path) -> Iterator[str]:
    """Yield the modules of this product that a file imports, imports inside functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in MODULES or node.module in MODULES:
                    yield full if full in MODULES else node.module


@cache
def all_imports() -> dict[str, set[str]]:
    """Return the modules of this product that each of its modules imports."""
    return {name: set(imports_of(path)) - {name} for name, path in MODULES.items()}


def is_below(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_folder_is_small_and_says_what_belongs_there(folder: Path) -> None:
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MAX_MODULES

    purpose, _, _ = (ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").partition(
        "\n\n"
    )
    assert purpose.endswith(".")
    assert 1 <= len(re.findall(r"\.(?=\s|$)", purpose)) <= 2


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Remove modules without remaining imports until none is left: what stays is in or above a circle."""
    remaining = {name: imports & MODULES.keys() for name, imports in all_imports().items()}
    while leaves := {name for name, imports in remaining.items() if not imports & remaining.keys()}:
        remaining = {name: imports for name, imports in remaining.items() if name not in leaves}
    assert sorted(remaining) == []


def test_folders_of_the_engine_import_only_lower_layers() -> None:
    layer_of = {f"defacer.engine.{name}": rank for rank, row in enumerate(ENGINE_LAYERS) for name in row}

    def find_layer(module: str) -> int | None:
        return next((rank for folder, rank in layer_of.items() if is_below(module, folder)), None)

    upwards = {
        (name, found)
        for name, imports in all_imports().items()
        for found in imports
        if (own := find_layer(name)) is not None and (other := find_layer(found)) is not None and other > own
    }
    assert upwards == set()
    folders = {path.parent.name for path in (ROOT / "functions/defacer/engine").glob("*/__init__.py")}
    assert folders == {name for row in ENGINE_LAYERS for name in row}


def find_definitions() -> Iterator[tuple[str, str, str]]:
    """Yield kind, name and file of each module, class and public function, except those of `commands` folders.

    There a module and its function are named after a command.
    """
    files = [path for folder in (*SOURCE_ROOTS.values(), ROOT / "infra") for path in folder.rglob("*.py")]
    for path in files:
        file = str(path.relative_to(ROOT))
        if "/commands/" in file or path.name == "__init__.py":
            continue
        yield "module", path.stem, file
        body = ast.parse(path.read_text()).body
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield "class", node.name, file
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                yield "function", node.name, file


def test_a_type_alias_has_one_value() -> None:
    values = collections.defaultdict(set)
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body if ".commands." not in name else ():
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                values[ast.unparse(node.targets[0])].add(ast.unparse(node.value))
    assert {name for name, found in values.items() if len(found) > 1} == SHARED_ALIASES.keys()


@pytest.mark.parametrize(
    ("kind", "shared"),
    [("module", SHARED_MODULES), ("class", SHARED_CLASSES), ("function", SHARED_FUNCTIONS)],
    ids=["module", "class", "function"],
)
def test_a_name_has_one_meaning(kind: str, shared: dict[str, str]) -> None:
    """Rename one of the two, or add the name above with the reason why both have it."""
    files = collections.defaultdict(list)
    for found, name, file in find_definitions():
        if found == kind:
            files[name].append(file)
    assert {name: paths for name, paths in files.items() if len(paths) > 1 and name not in shared} == {}
    assert shared.keys() <= {name for name, paths in files.items() if len(paths) > 1}


@pytest.mark.parametrize("owner", sorted(OWNED))
def test_no_other_code_imports_a_function_s_modules(owner: str) -> None:
    importers = {
        name for name, imports in all_imports().items() if any(is_below(found, owner) for found in imports)
    }
    importers |= {
        str(path.relative_to(ROOT))
        for path in (ROOT / "infra").rglob("*.py")
        if any(is_below(found, owner) for found in imports_of(path))
    }
    # The server of the images loads the worker's models before it opens its port.
    allowed = {"defacer.worker": {"defacer.serve"}, "defacer.web.live": {"defacer.commands.live"}}.get(
        owner, set()
    )
    assert {name for name in importers if not is_below(name, owner)} == allowed


def test_engine_and_pipeline_import_nothing_of_each_other() -> None:
    for one, other in (("defacer.engine", "defacer.pipeline"), ("defacer.pipeline", "defacer.engine")):
        both = [
            name
            for name in MODULES
            if is_below(name, one) and any(is_below(x, other) for x in all_imports()[name])
        ]
        assert both == []


def test_engine_and_pipeline_meet_in_the_adapters_only() -> None:
    both = {
        name
        for name, imports in all_imports().items()
        if any(is_below(found, "defacer.engine") for found in imports)
        and any(is_below(found, "defacer.pipeline") for found in imports)
        and not is_below(name, "defacer_emulator")
    }
    assert {name for name in both if not name.endswith(("engine_adapter", "engine_host"))} == set()


def test_the_pages_share_only_what_knows_no_engine_and_no_page() -> None:
    shared = [imports for name, imports in all_imports().items() if is_below(name, "defacer.web.common")]
    assert shared
    for package in ("defacer.web.console", "defacer.web.live", "defacer.engine"):
        assert not [found for imports in shared for found in imports if is_below(found, package)]


@pytest.mark.parametrize("function", ["ingest", "merge", "dead_letter", "webhook"])
def test_only_the_worker_imports_torch_before_it_is_called(function: str) -> None:
    assert not modules_of_functions()[function] & {"torch", "facenet_pytorch", "defacer.engine.engine"}


def test_the_package_imports_nothing_until_it_is_used() -> None:
    (loaded,) = modules_after_importing("defacer")
    assert {name for name in loaded if is_below(name, "defacer")} == {"defacer"}


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("defacer.commands.app", {"urllib.request", "pydantic"}),
        ("defacer_emulator.commands.upload", {"google.pubsub_v1", "defacer.engine.engine", "numpy"}),
    ],
)
def test_a_command_starts_without_modules_that_it_might_not_need(module: str, slow: set[str]) -> None:
    (loaded,) = modules_after_importing(module)
    assert not loaded & slow


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_entry_point_is_short_and_nothing_imports_it(function: str) -> None:
    assert len(MODULES[f"defacer.{function}.main"].read_text().splitlines()) < 60
    assert [name for name, imports in all_imports().items() if f"defacer.{function}.main" in imports] == []


def test_the_environment_is_read_in_one_module() -> None:
    outside = [name for name in MODULES if is_below(name, "defacer") and not is_below(name, "defacer.engine")]
    readers = [name for name in outside if re.search(r"\b(environb?|getenv)\b", MODULES[name].read_text())]
    assert readers == ["defacer.pipeline.settings"]


def test_openvino_is_imported_where_its_telemetry_is_off() -> None:
    found = re.compile(r"^ *(?:import|from) openvino\b", re.MULTILINE)
    modules = {name for name, path in MODULES.items() if found.search(path.read_text())}
    assert modules == {"defacer.engine.models.openvino_backend"}


def start_modules() -> Iterator[str]:
    """Yield each module that a container's start command or a build stage names."""
    for name in START_COMMANDS:
        text = (ROOT / "infra" / name).read_text()
        yield from re.findall(r"\b(defacer(?:\.\w+)+)(?=:|\b[^.$\w/])", text)
        for prefix in re.findall(r"\b(defacer(?:\.\w+)*)\.\$\{each\.key\}", text):
            yield from (f"{prefix}.{page}" for page in ("console", "live"))


def test_start_commands_resolve_in_the_folder_of_the_images(tmp_path: Path) -> None:
    names = sorted(set(start_modules()))
    assert {"defacer.serve", "defacer.web.console", "defacer.engine.models.weights"} <= set(names)
    shutil.copytree(ROOT / "functions" / "defacer", tmp_path / "defacer")
    code = (
        "import importlib.util, sys; sys.path.insert(0, sys.argv[1]); "
        "print(*(importlib.util.find_spec(name).origin for name in sys.argv[2:]))"
    )
    command = [sys.executable, "-I", "-c", code, str(tmp_path), *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(Path(origin).is_relative_to(tmp_path) for origin in done.stdout.split())
    for function in FUNCTIONS:
        assert (tmp_path / "defacer" / function / "main.py").is_file()


def test_topic_names_occur_in_the_topology_only() -> None:
    topics = set(topology.TOPICS) - {topology.UPLOADS, topology.SEGMENTS}  # these two are everyday words
    users = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in topics
    }
    assert users == {"defacer.pipeline.topology"}


def test_deadlines_and_retries_are_set_in_the_topology_only() -> None:
    """No other module has a constant in a RetryPolicy, a deadline or a number of deliveries.

    The Pub/Sub emulator repeats Pub/Sub's own push backoff, and the pipeline cannot set it.
    """
    fields = {"ack_deadline_seconds", "max_delivery_attempts", "minimum_backoff", "maximum_backoff"}
    setters = {
        name
        for name, path in MODULES.items()
        if not is_below(name, "defacer_emulator.pubsub")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func).endswith("RetryPolicy")
            or any(word.arg in fields and isinstance(word.value, ast.Constant) for word in node.keywords)
        )
        and any(
            isinstance(value, ast.Constant) for value in (*node.args, *(word.value for word in node.keywords))
        )
    }
    assert setters == {"defacer.pipeline.topology"}


def test_nothing_names_the_source_roots_as_packages() -> None:
    named = re.compile(r"(?:from|import|-m|\") ?(?:functions|local_emulator)(?:\.[a-z_]+| import)")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = [
        ROOT / name
        for name in tracked.splitlines()
        if name.endswith((".py", ".tf", ".sh", ".md", "Makefile"))
    ]
    assert [str(path) for path in texts if path != Path(__file__) and named.search(path.read_text())] == []
