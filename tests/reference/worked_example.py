"""The writes of a job with two segments, message by message, from a run of the model check."""

import re
from itertools import groupby

from tests.protocol.healthy import Request, requests_of_healthy_job

READS = ("start", "list", "find", "read")
MAX_SEEDS = 200
# Parts of names that are digests and random numbers.
UNSTABLE = (
    (re.compile(r"^jobs/[0-9a-f]{20}/"), ""),
    (re.compile(r"(?<=gallery-)[0-9a-f]{16}|(?<=/\d{5}-)[0-9a-f]{16}"), "DIGEST"),
    (re.compile(r"(?<=merge/)[0-9a-f]{32}"), "TOKEN"),
)


def worked_example() -> str:
    """Return a table of the writes, one row for each, in groups by message."""
    lines = ["| message | function | request | precondition |\n|---|---|---|---|\n"]
    for number, made in enumerate(_deliveries_in_order(), start=1):
        message, function = f"{number}. {_describe_message(made[0])}", made[0].function
        for request, condition in _writes(made) or [("none", "")]:
            lines.append(f"| {message} | {function} | {request} | {condition} |\n".replace("|  ", "| "))
            message, function = "", ""
    return "".join(lines)


def _deliveries_in_order() -> list[list[Request]]:
    """Return the requests of each delivery, of the first run that finishes segment 0 before segment 1 in each step."""
    for seed in range(MAX_SEEDS):
        requests = requests_of_healthy_job(segments=2, seed=seed)
        deliveries = [list(made) for _, made in groupby(requests, key=lambda request: request.delivery)]
        if [_describe_message(made[0])[-1] for made in deliveries[1:]] == list("00110011"):
            return deliveries
    raise AssertionError(f"no run of {MAX_SEEDS} has the messages in order")


def _describe_message(request: Request) -> str:
    body = request.message.data.decode()
    found = re.search(r'"index":(\d+).*"step":"(\w+)"', body)
    return f"`{request.topic}`: {found[2]} {found[1]}" if found else f"`{request.topic}`: the upload"


def _writes(requests: list[Request]) -> list[tuple[str, str]]:
    """Return the writes of a delivery with their preconditions. Deletes in a row are one entry."""
    writes = [_describe(request) for request in requests if request.kind not in READS]
    merged: list[tuple[str, str]] = []
    for is_delete, group in groupby(writes, key=lambda write: write[0].startswith("delete")):
        entries = list(group)
        if is_delete:
            *others, last = [request.removeprefix("delete ") for request, _ in entries]
            # Leases are deleted last, and by their version.
            merged += [(f"delete {', '.join(others)}", "")] if others else []
            entries = [(f"delete {last}", "its version")]
        merged += entries
    return merged


def _describe(request: Request) -> tuple[str, str]:
    label, _, generation = request.label.partition(" if ")
    action, _, name = label.rpartition(" ")
    for pattern, stable in UNSTABLE:
        name = pattern.sub(stable, name)
    condition = {"": "", "0": "must not exist"}.get(generation, "must be the version that was read")
    return f"{action} `{name}`", condition
