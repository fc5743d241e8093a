"""Whole optimizer steps of SFT and DPO, and DPO's reference pass: srlm against TRL, on a real model on the CPU.

    python benches/bench_training.py --model DIR [--only "judge examples, batch 8"] [--lines srlm] [--rounds N]

srlm runs by its public functions `train_sft` and `train_dpo`, TRL by `SFTTrainer` and `DPOTrainer` with the same
arguments and the same token ids. Losses and gradient norms of every step, and the reference log-probabilities, are
compared before any speed is shown.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model folder")
    parser.add_argument("--only", default="", help="run cases whose name contains this")
    parser.add_argument("--lines", default="", help="run trainers whose name contains this, such as `srlm`")
    parser.add_argument(
        "--rounds", type=int, default=3, help="steps of each trainer after a warm-up step; 0: time that one"
    )
    parser.add_argument("--list", action="store_true", help="only list the cases")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    return parser.parse_args(arguments)


def main() -> None:
    """Print the report line by line, and write it to --out."""
    # Before any library is imported, and for the processes of the trainings too.
    os.environ |= {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    options = parse()
    lines = []
    for line in report(options):
        print(line, flush=True)
        lines.append(line)
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def report(options: argparse.Namespace) -> Iterator[str]:
    """Yield the report's lines."""
    from training.cases import make_cases
    from training.tables import bench_case, header

    cases = [case for case in make_cases(options.model) if options.only in case.name]
    if options.list:
        yield from (f"{case.name}: {case.tokens} tokens, {case.loss_tokens} in completions" for case in cases)
        return
    yield from header(options.model, options.rounds)
    for case in cases:
        yield ""
        yield from bench_case(case, options.lines, options.model, options.rounds)


if __name__ == "__main__":
    main()
