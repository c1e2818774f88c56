"""Describe the machine and the package versions that the figures depend on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("av", "facenet-pytorch", "numpy", "opencv-python-headless", "torch")


def use_cores(count: int) -> int:
    """Limit this process and its children to `count` cores, and return the number of cores in use."""
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    allowed = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, allowed)
    return len(allowed)


def has_avx512() -> bool:
    """Return whether the processor has AVX-512, by Linux's /proc/cpuinfo; False where that is missing."""
    return "avx512f" in _cpu_facts().get("flags", "").split()


def machine_facts(cores: int) -> list[str]:
    """Return lines about CPU, used and existing cores, memory, system and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [
        f"CPU: {_cpu_model()}, {'AVX-512' if has_avx512() else 'without AVX-512'}; {cores} of {os.cpu_count()} cores "
        "used; no GPU used",
        f"RAM: {memory / 1e9:.1f} GB; {platform.system()} {platform.release()}; load before the run: "
        f"{os.getloadavg()[0]:.2f} (above about 0.3 other processes were running too)",
        f"Python {platform.python_version()}, {versions}",
    ]


def _cpu_facts() -> dict[str, str]:
    """Return the facts about the first core from Linux's /proc/cpuinfo."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(reversed([line.partition(":")[::2] for line in lines if ":" in line]))
    return {name.strip(): value.strip() for name, value in facts.items()}


def _cpu_model() -> str:
    facts = _cpu_facts()
    model = facts.get("model name", platform.machine())
    numbers = [f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts]
    return f"{model} ({', '.join(numbers)})" if numbers else model
