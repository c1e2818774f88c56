"""What the figures hang on: the machine, and the versions of what does the work."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("av", "facenet-pytorch", "numpy", "opencv-python-headless", "torch")


def use_cores(count: int) -> int:
    """Keep this process and those it starts to `count` cores; give the number that it has now."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    allowed = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, allowed)
    return len(allowed)


def machine_facts(cores: int) -> list[str]:
    """Lines for people: CPU, cores used and there, memory, system, versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [
        f"CPU: {_cpu_model()}; {cores} of {os.cpu_count()} cores used; no GPU used",
        f"RAM: {memory / 1e9:.1f} GB; {platform.system()} {platform.release()}; load before the run: "
        f"{os.getloadavg()[0]:.2f} (above about 0.3 others were working too)",
        f"Python {platform.python_version()}, {versions}",
    ]


def _cpu_model() -> str:
    """As Linux tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(reversed([line.partition(":")[::2] for line in lines if ":" in line]))
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    model = facts.get("model name", platform.machine())
    numbers = [f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts]
    return f"{model} ({', '.join(numbers)})" if numbers else model
