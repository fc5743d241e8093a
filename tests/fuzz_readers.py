"""Fuzz the readers of user files: `python -m tests.fuzz_readers --seconds 600`.

Valid files are corrupted at random: bytes are changed, removed or duplicated, and known problematic strings inserted. A
reader must return, or raise an `InputError` of one line; anything else is a defect, and is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm import config as configuration
from srlm.cli import reparse
from srlm.config import JudgeSection, SeedDataSection
from srlm.errors import InputError
from srlm.evaluation import held_out, instructions, preferences
from srlm.export import mt_bench
from srlm.rows import lazy_rows, records, resume
from srlm.run import run_dir
from srlm.stages import seed

if TYPE_CHECKING:
    from collections.abc import Callable

NASTY = [
    b"\xef\xbb\xbf", b"\x00", b"\xff\xfe", b"\r\n", b"\r", b"\n\n", b"\xe2\x80\xa8", b"\xc2\x85", b"\n\xc2\xa0\n",
    b'"\\ud800"',
    b"\\u0000", b"NaN", b"Infinity", b"-1e999", b"1e400", b"9" * 400, b"true", b"null", b"[]", b"{}", b'""', b"[" * 300,
    b'{"a":' * 90, b'"id": "1",', b'"score": "5"', b"\\", b'"', b"}", b"]", b",", b":", b"&a *a",
    b"!!python/object:os.system", b"<<: ", b"- ", b"\t", b"2024-99-99", b"%", b"'",
]  # fmt: skip
PROMPT = records.Prompt("0123456789abcdef", "Why?", "generated", ["a"], 1)
CANDIDATE = records.Candidate("0123456789abcdef", "p", 0, "Because.", [1, 2], -1.5, "stop", 7)
VERDICT = records.Verdict("0123456789abcdef", "c", 0, "Score: 4", "scored", 4.0, 3.9)
MESSAGES = [{"role": "user", "content": "Q"}]
PAIR = records.Pair("p", MESSAGES, MESSAGES, MESSAGES, "c", "r", 5.0, 1.0, [1], [2])
TREE = {
    "message_tree_id": "t", "prompt": {"text": "Q", "lang": "en", "replies": [
        {"text": "A", "lang": "en", "rank": 0}, {"text": "B", "lang": "en", "rank": 1}]},
}  # fmt: skip
IFT = {"messages": [*MESSAGES, {"role": "assistant", "content": "A"}]}
EFT = {"prompt": "Q", "answers": [{"text": "A", "score": 5}, {"text": "B", "score": 1, "justification": "no"}]}
RULE = {"key": 1, "prompt": "Q", "instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["tea"]}]}
LLMBAR = {"input": "Q", "output_1": "A", "output_2": "B", "label": 1}
QUESTION = {"question_id": 81, "category": "math", "turns": ["Q", "And?"]}
ENTRY = {
    "seed/ift": {
        "format": run_dir.FORMAT,
        "cache_key": "k",
        "seconds": 1.0,
        "finished": "now",
        "rows": 1,
        "path": "seed/ift.jsonl",
    }
}


def rows(*values: object) -> bytes:
    """Return values as JSON lines."""
    return "".join(records.to_json(value) + "\n" for value in values).encode()


def _read_seed(path: Path, *, ift: bool) -> None:
    if ift:
        seed.read_ift(SeedDataSection(ift=[str(path)]))
    else:
        seed.read_eft(SeedDataSection(eft=[str(path)]))


def _read_twice(path: Path) -> None:
    """Iterate over the rows, and read each by its index: both must give the same rows."""
    read = lazy_rows.RowFile(path, records.Candidate)
    assert list(read) == read[:]


def _load(path: Path) -> None:
    configuration.load(str(path))


def _reread(path: Path) -> None:
    reparse.parse_replies(path, path.with_name("out"), field="text", judge=JudgeSection())


READERS: dict[str, tuple[bytes, Callable[[Path], Any]]] = {
    "prompts": (rows(PROMPT), lambda path: records.read_rows(path, records.Prompt)),
    "candidates": (rows(CANDIDATE), _read_twice),
    "verdicts, resumed": (rows(VERDICT), lambda path: resume.resume_rows(path, records.Verdict)),
    "pairs": (rows(PAIR), lambda path: records.read_rows(path, records.Pair)),
    "seeds, IFT": (rows(IFT, TREE), partial(_read_seed, ift=True)),
    "seeds, EFT": (rows(EFT, TREE), partial(_read_seed, ift=False)),
    "preferences": (rows(LLMBAR), preferences.read_preferences),
    "preferences of srlm": (rows(EFT), preferences.read_preferences),
    "held-out prompts": (rows({"prompt": "Q"}), held_out.read_prompts),
    "instructions": (rows(RULE), instructions.read_instructions),
    "questions": (rows(QUESTION), mt_bench.read_questions),
    "manifest": (json.dumps(ENTRY).encode(), lambda path: run_dir.RunDir(path.parent).known_stages()),
    "configuration": (configuration.to_yaml(configuration.load("quickstart")).encode(), _load),
    "replies": (rows({"text": "Score: 3"}), _reread),
}
NAMES = {"manifest": "manifest.json", "configuration": "config.yaml"}


@dataclass
class Found:
    """The number of inputs by reader and outcome, and the defects found."""

    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)


def corrupted(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with one or more random corruptions."""
    lines = data * rng.choice((1, 1, 2, 3))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(lines) + 1)
        to = min(len(lines), at + rng.choice((0, 1, 1, 2, 8, 40)))
        kind = rng.randrange(5)
        if kind == 0:
            lines = lines[:at] + bytes([rng.randrange(256)]) + lines[at + 1 :]
        elif kind == 1:
            lines = lines[:at] + lines[to:]
        elif kind == 2:
            lines = lines[:at] + lines[at:to] * 2 + lines[to:]
        elif kind == 3:
            lines = lines[:at] + rng.choice(NASTY) + lines[to:]
        else:
            lines = lines[:at] if rng.random() < 0.2 else lines[:at] + rng.choice(NASTY) + lines[at:]
    return lines


def fuzz(folder: Path, seed: int, seconds: float | None = None, inputs: int | None = None) -> Found:
    """Try `inputs` inputs, or for `seconds` seconds."""
    rng, found, began = random.Random(seed), Found(), time.monotonic()
    while (inputs is None or found.tried.total() < inputs) and (seconds is None or time.monotonic() - began < seconds):
        name = rng.choice(list(READERS))
        valid, read = READERS[name]
        path = folder / NAMES.get(name, "in.jsonl")
        data = corrupted(valid, rng)
        path.write_bytes(data)
        try:
            read(path)
            found.tried[name, "accepted"] += 1
        except InputError as error:
            found.tried[name, "refused"] += 1
            if "\n" in str(error):
                found.defects.append(f"{name}: several lines: {error!r} at {data!r}")
        except Exception as error:
            found.tried[name, "defect"] += 1
            found.defects.append(f"{name}: {type(error).__name__}: {error} at {data!r}")
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="srlm-fuzz-") as folder:
        found = fuzz(Path(folder), options.seed, options.seconds)
    for (name, outcome), count in sorted(found.tried.items()):
        print(f"{name:24} {outcome:9} {count}")
    print(f"{found.tried.total()} inputs, {len(found.defects)} defects")
    print("\n".join(found.defects[:20]))


if __name__ == "__main__":
    main()
