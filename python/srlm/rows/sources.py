"""Names of data files in the configuration: a path, or `packaged:NAME` for a file of this package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from srlm.errors import InputError

PREFIX = "packaged:"
PACKAGED = {f"{PREFIX}checks/{part}": f"checks/{part}.jsonl" for part in ("train", "held_out")}


def data_file(name: str) -> Path:
    """Return the path of a data file.

    Raises:
        InputError: the package has no file of this name.
    """
    if not name.startswith(PREFIX):
        return Path(name)
    if name not in PACKAGED:
        raise InputError(f"{name}: is not a packaged file; these are: {', '.join(PACKAGED)}")
    return Path(str(resources.files("srlm") / "data" / PACKAGED[name]))
