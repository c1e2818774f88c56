"""The permissions of the console's account in its buckets (infra/pages.tf), checked against its storage requests.

fake-gcs-server allows every request, so a missing permission would otherwise show only on Google Cloud.
`tests/infra/test_applied_settings.py` compares these grants with those that Terraform creates.
"""

from defacer_emulator.chaos.http import Request
from tests.cloud import Buckets
from tests.permissions import ROLES, Grant, bucket_resource, list_needs
from tests.terraform import local

CONSOLE = "the console"


def console_grants(bucket_names: dict[str, str]) -> list[Grant]:
    """Return the grants of the console's account in these buckets, which are keyed as in pages.tf."""
    return [
        Grant(
            CONSOLE,
            bucket_resource(bucket_names[row["bucket"]]),
            row["role"] or row["ours"],
            frozenset(ROLES[row["role"]] if row["role"] else local("page_permissions")[row["ours"]]),
            f'resource.name.endsWith("{row["suffix"]}")' if row["suffix"] else "",
        )
        for row in local("page_roles")["console"].values()
    ]


def find_missing(request: Request, buckets: Buckets) -> list[str]:
    """Return the permissions that the request needs and that no grant includes."""
    names = {"intake": buckets.intake, "work": buckets.work, "output": buckets.output}
    grants = console_grants(names)
    return [
        f"{need.permission} on {bucket}: {need.resource}"
        for need in list_needs(request)
        for bucket, name in names.items()
        if f"{need.resource}/".startswith(f"{bucket_resource(name)}/")
        and need.permission != "storage.buckets.get"  # the client looks the location up, and works without it
        and not any(grant.allows(CONSOLE, need) for grant in grants)
    ]
