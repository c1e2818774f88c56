"""The schema of the provider "google": that of version 6.50, with what infra/ uses of later versions.

The later parts are those of the provider's source at version 7.21.0.
"""

import json
from pathlib import Path
from typing import Any


def read_schema(path: Path) -> dict[str, Any]:
    """Return the schema file with the later parts."""
    schema: dict[str, Any] = json.loads(path.read_text())
    resources = schema["resources"]
    resources["google_cloud_run_v2_service"]["a"]["iap_enabled"] = "bool"
    invoker = resources["google_cloud_run_v2_service_iam_member"]
    named = {name: kind for name, kind in invoker["a"].items() if name != "name"}
    accessor = {**invoker, "a": {**named, "cloud_run_service_name": "string!"}}
    resources["google_iap_web_cloud_run_service_iam_member"] = accessor
    return schema
