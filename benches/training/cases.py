"""What is compared: rows of one optimizer step, and the trainers that take it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from preference.task import sample_lengths
from srlm import config
from srlm.models import chat, fit, registry
from srlm.rows.records import Example, Pair
from srlm.stages import eft, seed_sets
from srlm.training.step_order import StepOrder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from transformers import PreTrainedTokenizerBase

RATIOS = (0.4, 1.6, 6.0)  # of the lengths of prompt and answer
MEDIAN = 48  # tokens of an answer, as in bench_preference.py on a CPU
SEED = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One trainer with its settings."""

    trainer: str  # `srlm` or `TRL`
    micro_batch_size: int

    @property
    def name(self) -> str:
        """Return the name in the table."""
        return f"{self.trainer}, micro-batch {self.micro_batch_size}"


@dataclass(frozen=True, slots=True)
class Case:
    """All rows are one optimizer step, which is repeated, so every trainer sees the same rows in every step."""

    name: str
    stage: str  # `sft`, `dpo`, or `reference`: the pass over all pairs before DPO's first step
    rows: Sequence[Example] | Sequence[Pair]
    tokens: int  # of all rows, in TRL's form: a pair's prompt counts twice
    loss_tokens: int  # of completions
    lines: tuple[Line, ...]


def make_cases(model: str) -> Iterator[Case]:
    """Yield all cases, for the tokenizer of a model folder."""
    tokenizer = registry.load_tokenizer(model)
    sets = seed_sets.load(config.SeedDataSection(), SEED)
    for justify, sizes in ((False, (8, 16)), (True, (8,))):
        judge = config.JudgeSection(justify=justify)
        rows = eft.examples_from_ranks(sets.train, eft=config.EftSection(), judge=judge, seed=SEED).rows
        for size in sizes:
            name = "SFT, judge examples" + " with a justification" * justify
            yield sft_case(name, tokenizer, step_of(tokenizer, rows, size))
    yield sft_case("SFT, instructions", tokenizer, step_of(tokenizer, sets.ift, 8))
    ids = text_ids(tokenizer, sets.ift)
    for ratio in RATIOS:
        pairs = make_pairs(tokenizer, ids, ratio, pairs=4, pairs_per_prompt=1)
        yield pair_case(f"DPO, prompt:answer {ratio:g}", "dpo", tokenizer, pairs)
    for pairs_per_prompt in (4, 1):
        pairs = make_pairs(tokenizer, ids, RATIOS[1], pairs=16, pairs_per_prompt=pairs_per_prompt)
        name = f"reference, prompt:answer {RATIOS[1]:g}, {len(pairs) // pairs_per_prompt} prompts"
        yield pair_case(name, "reference", tokenizer, pairs)


def both_trainers(*micro_batch_sizes: int) -> tuple[Line, ...]:
    """Return lines of both trainers with each micro-batch size."""
    return tuple(Line(trainer, size) for trainer in ("srlm", "TRL") for size in micro_batch_sizes)


def step_of(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Example], count: int) -> list[Example]:
    """Return a step of a training on `rows`, neither its first, which has the longest row, nor its last."""
    ids, _ = fit.encode_examples(tokenizer, rows)
    step = StepOrder(ids, count, SEED, lambda: 0).steps(0)[1]
    return [rows[index] for index in step]


def sft_case(name: str, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Example]) -> Case:
    """Return the case of a step of examples."""
    ids, masks = fit.encode_examples(tokenizer, rows)
    lines = both_trainers(1, 8)
    return Case(f"{name}, batch {len(rows)}", "sft", rows, sum(map(len, ids)), sum(map(sum, masks)), lines)


def pair_case(name: str, stage: str, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> Case:
    """Return the case of a step of pairs, or of a reference pass over them."""
    prompts, *answers = fit.encode_pairs(tokenizer, pairs)
    completion = sum(len(ids) for side in answers for ids in side)
    tokens = 2 * sum(map(len, prompts)) + completion
    return Case(f"{name}, {len(pairs)} pairs", stage, pairs, tokens, completion, both_trainers(1, 4))


def text_ids(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[int]:
    """Return the tokens of all prompts and answers, from which prompts and answers of any length are cut."""
    texts = [message["content"] for row in examples for message in (*row.prompt, *row.completion)]
    ids: list[int] = tokenizer("\n".join(texts), add_special_tokens=False)["input_ids"]
    return ids


def make_pairs(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], ratio: float, *, pairs: int, pairs_per_prompt: int
) -> list[Pair]:
    """Cut pairs out of a text, with ragged log-normal answer lengths; a rendered prompt is `ratio` times as long.

    All answers are different, and so are the prompts of different groups of `pairs_per_prompt` pairs.
    """
    lengths = sample_lengths(100 * MEDIAN * pairs, MEDIAN)[: 2 * pairs]
    sides = list(zip(lengths[::2], lengths[1::2], strict=True))
    (overhead,) = (len(prompt) for prompt in chat_prompts(tokenizer, [""]))
    position = itertools.accumulate(itertools.repeat(997), lambda start, step: (start + step) % (len(ids) - 600))
    found: list[Pair] = []
    for index, (chosen, rejected) in enumerate(sides):
        if index % pairs_per_prompt == 0:
            group = sides[index : index + pairs_per_prompt]
            mean = sum(map(sum, group)) / (2 * len(group))
            text = tokenizer.decode(cut(ids, next(position), max(1, round(ratio * mean) - overhead)))
        tokens = cut(ids, next(position), chosen), cut(ids, next(position), rejected)
        found.append(pair_of(tokenizer, index, text, *tokens))
    return found


def chat_prompts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of rendered prompts."""
    rows = [pair_of(tokenizer, 0, text, [0], [1]) for text in texts]
    return fit.encode_pairs(tokenizer, rows)[0]


def cut(ids: Sequence[int], start: int, length: int) -> list[int]:
    """Return `length` tokens, from the beginning again if the text ends."""
    return [ids[(start + offset) % len(ids)] for offset in range(length)]


def pair_of(
    tokenizer: PreTrainedTokenizerBase, index: int, prompt: str, chosen: list[int], rejected: list[int]
) -> Pair:
    """Return a row of a pairs file whose answers are token ids, as an engine writes them."""
    answers: dict[str, Any] = {
        "chosen": chat.assistant(tokenizer.decode(chosen)),
        "rejected": chat.assistant(tokenizer.decode(rejected)),
    }
    return Pair(
        prompt_id=f"p{index}",
        # Without an own one, SmolLM2's template adds a system message that is longer than the shortest prompts.
        prompt=[{"role": "system", "content": ""}, *chat.user(prompt)],
        **answers,
        chosen_id=f"c{index}",
        rejected_id=f"r{index}",
        chosen_score=5.0,
        rejected_score=1.0,
        chosen_token_ids=chosen,
        rejected_token_ids=rejected,
    )
