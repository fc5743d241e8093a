"""srlm's vLLM engine against plain `vllm.LLM.generate` on a CPU: answers, and verdicts of one token.

    python benches/bench_engine.py --model DIR [--requests 512] [--rounds 3] [--workloads candidates,verdicts]
                                   [--eager] [--out FILE.md]

Each engine has a process of its own. A round runs the workload once in each, in turn and with an empty prefix cache,
and the medians over the rounds are compared. Both engines get the same token ids, seeds, sampling settings and sizes,
and keep the log-probability of each token; `vllm.LLM` has its default cache blocks (128 tokens on a CPU). The texts are
compared, and the log-probabilities.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from engine.runs import OURS, VLLM, Process
from engine.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.runs import Answer, Round

WARM_UP = 2  # requests
HEADER = (
    "| {} | wall s | CPU s | tokens/s | requests/s | tokens through the model per request |\n|---|--:|--:|--:|--:|--:|"
)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model folder")
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="comma-separated")
    parser.add_argument("--eager", action="store_true", help="without compiled graphs, in both engines")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    options = parser.parse_args(arguments)
    options.workloads = options.workloads.split(",")
    return options


def bench(options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report."""
    processes = [Process(name, options) for name in (VLLM, OURS)]
    for process in processes:
        yield f"{process.name}: started in {process.start_seconds:.1f} s"
    for workload in options.workloads:
        for process in processes:
            process.run(workload, WARM_UP)
        rounds: dict[str, list[Round]] = {process.name: [] for process in processes}
        for _ in range(options.rounds):
            for process in processes:
                rounds[process.name].append(process.run(workload, options.requests))
        yield from table(workload, rounds)
    for process in processes:
        process.close()


def table(workload: str, rounds: dict[str, list[Round]]) -> Iterator[str]:
    """Yield a workload's table: one engine per row."""
    yield ""
    yield HEADER.format(workload)
    for name, some in rounds.items():
        wall, cpu = (statistics.median(values) for values in ([r.seconds for r in some], [r.cpu_seconds for r in some]))
        requests, one = len(some[0].answers), some[0]
        yield (
            f"| {name} | {wall:.2f} | {cpu:.2f} | {one.generated / wall:.1f} | {requests / wall:.2f} "
            f"| {one.computed / requests:.1f} |"
        )
    wall, cpu = (
        statistics.median([getattr(r, clock) for r in rounds[VLLM]])
        / statistics.median([getattr(r, clock) for r in rounds[OURS]])
        for clock in ("seconds", "cpu_seconds")
    )
    yield ""
    yield f"Speed of {OURS} relative to {VLLM}: {wall:.2f} by wall time, {cpu:.2f} by CPU time."
    yield differences(rounds[VLLM][0].answers, rounds[OURS][0].answers)


def differences(expected: dict[str, Answer], found: dict[str, Answer]) -> str:
    """Return how far the answers agree; rounding depends on the composition of batches."""
    assert expected.keys() == found.keys()
    same = [key for key, answer in expected.items() if answer.token_ids == found[key].token_ids]
    assert all(expected[key].text == found[key].text for key in same)
    logprob = max((abs(expected[key].logprob - found[key].logprob) for key in same), default=0.0)
    requested = max(
        (
            abs(one - other)
            for key in same
            for row, others in zip(expected[key].requested, found[key].requested, strict=True)
            for one, other in zip(row, others, strict=True)
        ),
        default=0.0,
    )
    return (
        f"Equal answers: {len(same)} of {len(expected)}; largest difference among them: of an answer's log-probability "
        f"{logprob:.1e} nats, of a requested one {requested:.1e}."
    )


def main() -> None:
    """Print the report line by line, and write it to --out."""
    options = parse()
    lines = []
    for line in bench(options):
        print(line, flush=True)
        lines.append(line)
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
