"""The environment of a run: packages and versions, the machine, its GPUs, and the commit of srlm in a checkout.

Each start of a run records it in `environments.json` under its hash, and every manifest entry names its environment.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import srlm
from srlm import __version__
from srlm.rows.json_lines import read_object
from srlm.rows.records import content_id, write_text

FILE = "environments.json"
GPU_FIELDS = "name,memory.total,driver_version"


def record(run: Path) -> str:
    """Add this process's environment to a run directory, and return its name there."""
    found = describe()
    name, file = content_id(found), run / FILE
    known = read_object(file)
    if name not in known:
        write_text(file, json.dumps({**known, name: found}, indent=1) + "\n")
    return name


def describe() -> dict[str, Any]:
    """Return the environment of this process."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "srlm": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "gpus": _lines("nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader"),
        "packages": packages(),
    }


def packages() -> dict[str, str]:
    """Return every installed distribution with its version."""
    found = {dist.name: dist.version for dist in importlib.metadata.distributions() if dist.name}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def commit() -> str | None:
    """Return the commit of srlm's own checkout, with a plus sign if tracked files have changed; None for a wheel."""
    here = Path(srlm.__file__).resolve().parent
    if not any((folder / ".git").exists() for folder in here.parents[:2]):
        return None  # a repository further up is not srlm's
    found = _lines("git", "-C", str(here), "rev-parse", "HEAD")
    changed = _lines("git", "-C", str(here), "status", "--porcelain", "--untracked-files=no")
    return found[0] + ("+" if changed else "") if found else None


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _lines(*command: str) -> list[str]:
    """Return the lines that a command prints; none if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
