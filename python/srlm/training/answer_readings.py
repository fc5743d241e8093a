"""Log-probabilities of given answers under a model, in a process of their own; answers to one prompt share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from srlm.kernels.logits_logps import logits_logps
from srlm.models import devices, registry
from srlm.training.passes import PassPlanner
from srlm.training.prefix_sharing import find_form, with_fast_attention
from srlm.training.sequence_readings import answer_targets

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from srlm.config import ModelSection
    from srlm.training.passes import Pass

MAX_NODES = 1024  # computed tokens of a forward pass


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to read: token ids of its prompt and its own; `id` names it."""

    id: str
    prompt_ids: Sequence[int]
    token_ids: Sequence[int]


class AnswerReader:
    """Reads log-probabilities under one model. The weights are bfloat16 on a GPU that has it, else float32."""

    def __init__(self, folder: str, model: ModelSection) -> None:
        """Load the model."""
        dtype = torch.bfloat16 if devices.has_bfloat16() else torch.float32
        loaded = registry.load_model(folder, dtype=dtype, trust_remote_code=model.trust_remote_code)
        loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        found = find_form(loaded)
        self._model = loaded
        self._planner = PassPlanner(
            rows_of=lambda example: [example["input_ids"]],
            max_examples=1,
            pad_token_id=0,
            form=None if isinstance(found, str) else with_fast_attention(loaded, found, MAX_NODES),
            max_nodes=MAX_NODES,
        )

    def read(self, answers: Sequence[Answer], done: Container[str] = ()) -> Iterator[tuple[str, float]]:
        """Yield (id, log-probability in nats) of the answers that are not `done`, each given its prompt.

        The passes are those of all answers, whatever is done, so an interrupted reading goes on with the same
        roundings.
        """
        examples = [
            {"input_ids": [*row.prompt_ids, *row.token_ids], "start": len(row.prompt_ids), "id": row.id}
            for row in answers
        ]
        for one in self._planner.passes(examples):
            ids = [example["id"] for example in one.examples]
            if not all(name in done for name in ids):
                found = zip(ids, answer_logprobs(self._model, one), strict=True)
                yield from (pair for pair in found if pair[0] not in done)


@torch.inference_mode()
def answer_logprobs(model: torch.nn.Module, one: Pass) -> list[float]:
    """Return the sums of the log-probabilities of a pass's answers given their prompts, in nats."""
    device = next(model.parameters()).device
    targets = answer_targets(one).to(device)
    logits = model(**one.layout.model_inputs(device), logits_to_keep=targets.rows).logits[0]  # [N, V]
    logps: list[float] = logits_logps(logits, targets.labels, targets.cu_seqlens).tolist()
    return logps
