"""The DPO loss from hidden states to both gradients, srlm against other libraries; `--step`: whole optimizer steps.

    python benches/bench_preference.py [--device cuda] [--shapes 896x151936] [--ratios 1.6] [--rows N] [--out FILE.md]
    python benches/bench_preference.py --step --model DIR

All implementations start from the same padded hidden states, as TRL's collator pads a micro-batch (chosen rows, then
rejected rows), and end at the gradients of hidden states and weight. Each round runs every implementation once, and the
medians over the rounds are compared. Losses, log-probabilities and gradients are compared with float64 before the
timing, and memory is measured separately. The matmuls of every implementation are counted as 6NDV with N useful rows,
whatever it computes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from preference.steps import bench_step
from preference.tables import bench_losses
from preference.task import Shape

SHAPES = [(576, 49152), (896, 151936), (2048, 128256), (4096, 128256), (2304, 256000)]
RATIOS = [0.4, 1.6, 6.0]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; some defaults depend on the device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shapes", help="comma-separated HIDDENxVOCABULARY")
    parser.add_argument(
        "--ratios", default=",".join(map(str, RATIOS)), help="comma-separated prompt:answer length ratios"
    )
    parser.add_argument("--rows", type=int, help="completion tokens (default: 8192; on a CPU 512)")
    parser.add_argument(
        "--median", type=int, help="median answer length (default: 180; on a CPU 48, for several pairs)"
    )
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="default: bfloat16; on a CPU float32"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--patience", type=float, default=30.0, help="seconds after which an implementation skips the remaining rounds"
    )
    parser.add_argument("--only", default="", help="run implementations whose name contains this")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    parser.add_argument("--step", action="store_true", help="time whole steps of --model instead")
    parser.add_argument("--model", help="a model folder")
    parser.add_argument("--pairs", type=int, default=4, help="pairs in a step's batch")
    options = parser.parse_args(arguments)
    if options.step and not options.model:
        parser.error("--step needs --model")
    on_gpu = options.device == "cuda"
    shapes = [Shape(*shape) for shape in (SHAPES if on_gpu else SHAPES[:2])]
    options.shapes = [Shape.parse(text) for text in options.shapes.split(",")] if options.shapes else shapes
    options.ratios = [float(text) for text in options.ratios.split(",")]
    options.rows = options.rows or (8192 if on_gpu else 512)
    options.median = options.median or (180 if on_gpu else 48)
    options.dtype = getattr(torch, options.dtype or ("bfloat16" if on_gpu else "float32"))
    return options


def main() -> None:
    """Print the report line by line, and write it to --out."""
    options = parse()
    lines = []
    for line in bench_step(options) if options.step else bench_losses(options):
        print(line, flush=True)
        lines.append(line)
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
