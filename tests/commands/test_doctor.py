"""`defacer doctor` and `defacer schema`: the facts about a machine, and the schema of a policy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from defacer.commands import machine_facts
from defacer.engine.models import weights
from defacer.engine.runtime.installation import install_command
from tests.commands.conftest import Run


def test_doctor_lists_packages_models_and_the_machine(defacer: Run) -> None:
    weights.fetch_all()
    done = defacer("doctor")
    assert done.code == 0
    for line in ("De-facer 0.", "CPU: ", "GPU: ", "encoder libx264", "centerface.onnx", "present", "base  "):
        assert line in done.out


def test_doctor_writes_nothing_into_the_home_folder(tmp_path: Path) -> None:
    """OpenVINO's telemetry would write a client's id there, and call a web service."""
    command = [sys.executable, "-m", "defacer", "doctor", "--json"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []


def test_doctor_prints_json_for_programs(defacer: Run) -> None:
    facts = json.loads(defacer("doctor", "--json").out)
    assert facts["cpu_count"] >= 1
    assert [extra["name"] for extra in facts["extras"]] == ["", "cloud", "console", "emulator", "gpu"]
    assert all(len(model["sha256"]) == 64 for model in facts["models"])


def test_doctor_says_how_to_get_missing_models_and_packages(
    defacer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setattr(machine_facts, "missing_packages", lambda extra: ["torch"] if extra == "gpu" else [])
    done = defacer("doctor")
    assert done.code == 0
    assert install_command("gpu") in done.out
    assert "missing torch" in done.out
    assert "Missing models: centerface.onnx" in done.out
    assert "defacer doctor --fetch" in done.out


def test_doctor_fails_for_a_damaged_model(
    defacer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.DIRECTORY_VARIABLE, str(tmp_path))
    damaged = weights.default_files()[0].path
    damaged.write_text("not the model")
    done = defacer("doctor")
    assert done.code == 1
    assert f"The model {damaged} is damaged. Delete it." in done.out


def test_schema_of_a_policy_lists_fields_values_and_meanings(defacer: Run) -> None:
    schema = json.loads(defacer("schema", "policy").out)
    assert schema["additionalProperties"] is False  # an editor marks a misspelt field
    mode = schema["properties"]["mode"]
    assert (mode["enum"], mode["default"]) == (["blur", "pixelate", "solid", "image"], "blur")
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []
    assert "make reference" not in schema["description"]
