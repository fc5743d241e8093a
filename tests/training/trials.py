"""Trainings of a tiny model on synthetic rows."""

import json

import torch
from srlm.config import DpoSection, ModelSection, SftSection
from srlm.models import chat, registry
from srlm.rows.records import Example, Pair
from srlm.training.dpo import train_dpo
from srlm.training.sft import train_sft
from srlm.training.training_job import TrainingJob

from tests.scripted import Recorder

TEXT = "the score of an answer is what a judge gives to it and nothing else at all"


def sentence(number, length):
    words = TEXT.split()
    return " ".join(words[(number * 7 + index * 3) % len(words)] for index in range(length))


def example(number, length=6):
    return Example(
        f"e{number}", chat.user(f"Task {number}: {sentence(number, 5)}"), chat.assistant(sentence(number + 1, length))
    )


def pair(number, **token_ids):
    return Pair(
        f"p{number}",
        chat.user(f"Task {number}: {sentence(number, 5)}"),
        chat.assistant(sentence(number + 1, 4 + number % 3)),
        chat.assistant(sentence(number + 2, 9 - number % 4)),
        f"c{number}",
        f"r{number}",
        5.0,
        1.0,
        **token_ids,
    )


EXAMPLES = [example(number, 4 + number % 5) for number in range(8)]
PAIRS = [pair(number) for number in range(6)]


class Trial:
    """A training job in its own folder, and its result."""

    def __init__(self, folder, base, **job):
        self.folder, self.base, self.report = folder, base, Recorder()
        card = {"model": "m1 of run trial", "base model": "tiny"}
        self.job = TrainingJob(
            **{
                "base": base,
                "target": folder / "m1" / "model",
                "metrics": folder / "m1" / "metrics.jsonl",
                "model": ModelSection(name="tiny"),
                "seed": 1,
                "processes": 1,
                "card": card,
                **job,
            }
        )

    def sft(self, examples=EXAMPLES, **section):
        settings = {"batch_size": 4, "micro_batch_size": 2, "dropout": 0.0, "max_length": 200, **section}
        self.trained = train_sft(examples, sft=SftSection(**settings), job=self.job, report=self.report)
        return self

    def dpo(self, pairs=PAIRS, *, sampled=None, **section):
        settings = {"batch_size": 2, "micro_batch_size": 2, "dropout": 0.0, "max_length": 200, **section}
        dpo = DpoSection(**settings)
        self.trained = train_dpo(pairs, dpo=dpo, job=self.job, report=self.report, sampled=sampled or {})
        return self

    @property
    def logged(self):
        """The entries of the metrics file that are optimizer steps."""
        lines = self.job.metrics.read_text(encoding="utf-8").split("\n")
        entries = [json.loads(line) for line in lines if line]
        return [entry for entry in entries if "loss" in entry]

    @property
    def tokenizer(self):
        return registry.load_tokenizer(self.base)

    @property
    def model(self):
        return registry.load_model(str(self.job.target), dtype=torch.float32).eval()


def token_logps(model, prompt, completion):
    """log p of each token of a completion, from a plain forward pass."""
    ids = torch.tensor([[*prompt, *completion]])
    with torch.inference_mode():
        logits = model(ids).logits[0, len(prompt) - 1 : -1].double()
    return logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


def same_weights(one, other):
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)
