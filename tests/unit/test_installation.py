"""The command that adds an extra names the source of the installation, not a package of a registry."""

import json
import sys
from pathlib import Path

import pytest

from defacer.engine.runtime.installation import install_command

PIP = f"{sys.executable} -P -m pip install"


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put metadata of De-facer first on the path, as an installer writes it."""
    folder = tmp_path / "defacer-9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: defacer\nVersion: 9\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ({"url": "file:///home/me/De-facer", "dir_info": {}}, "'defacer[gpu] @ file:///home/me/De-facer'"),
        ({"url": "file:///my%20repo", "dir_info": {"editable": True}}, "--editable '/my repo[gpu]'"),
        ({"url": "file:///defacer-9.whl", "archive_info": {}}, "'defacer[gpu] @ file:///defacer-9.whl'"),
        (
            {"url": "https://host/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "'defacer[gpu] @ git+https://host/r.git@abc'",
        ),
    ],
    ids=["folder", "editable", "wheel", "git"],
)
def test_command_names_what_was_installed(
    origin: dict[str, object], expected: str, site_packages: Path
) -> None:
    (site_packages / "direct_url.json").write_text(json.dumps(origin))
    assert install_command("gpu") == f"{PIP} {expected}"


@pytest.mark.usefixtures("site_packages")
def test_unknown_origin_leaves_the_folder_to_the_user() -> None:
    assert install_command("gpu").startswith("pipx install --force 'FOLDER[gpu]' (FOLDER is ")
