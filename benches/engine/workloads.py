"""The requests of the benchmark, as `srlm run` makes them from the packaged seed examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from srlm.engines.base import Request

PER_PROMPT = 4


def candidates(tokenizer: Any, count: int) -> list[Request]:
    """Return requests for answers of 64 tokens, four to a prompt."""
    from srlm.engines.base import Request, Sampling
    from srlm.models import chat
    from srlm.rows.records import derived_seed

    sampling = Sampling(0.7, 0.9, 64)
    prompts = [(prompt, chat.prompt_ids(tokenizer, chat.user(prompt))) for prompt, _ in _examples()]
    return [
        Request(f"{number}.{index}", ids, sampling, derived_seed(1, "candidate", prompt, index))
        for number, (prompt, ids) in enumerate(prompts)
        for index in range(PER_PROMPT)
    ][:count]


def verdicts(tokenizer: Any, count: int) -> list[Request]:
    """Return requests for verdicts of one token (`judge.justify: false`) on four answers to each prompt."""
    from srlm.config import JudgeSection
    from srlm.engines.base import Request
    from srlm.stages.judge import PointwiseJudge

    judge, rows = PointwiseJudge(tokenizer, JudgeSection(justify=False)), _examples()
    return [
        Request(f"{number}.{index}", judge.request_ids(prompt, answer), judge.sampling, 1)
        for number, (prompt, _) in enumerate(rows)
        for index in range(PER_PROMPT)
        for _, answer in [rows[(number + 7 * index) % len(rows)]]
    ][:count]


def _examples() -> list[tuple[str, str]]:
    """Return the packaged single-turn questions with their answers."""
    from srlm.config import SeedDataSection
    from srlm.stages.seed import read_ift

    rows = read_ift(SeedDataSection())
    return [(row.prompt[0]["content"], row.completion[0]["content"]) for row in rows if len(row.prompt) == 1]


WORKLOADS: dict[str, Callable[[Any, int], list[Request]]] = {"candidates": candidates, "verdicts": verdicts}
