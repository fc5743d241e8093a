"""TRL's trainer, rows and arguments for tests of the DPO trainer."""

import torch
from srlm.training.dpo_trainer import can_fuse
from srlm.training.preference_layout import pair_rows
from srlm.training.step_order import StepOrder
from trl import DPOConfig, DPOTrainer


class TrlTrainer(DPOTrainer):
    """TRL's own trainer, without its tokenisation, with one micro-batch per step, so that its means are right.

    It visits the rows in the same order, if the loss is one of those that are fused.
    """

    def _get_train_sampler(self, train_dataset=None):
        if not plain(self.args) or not can_fuse(self.args.loss_type, self.model, self.args.router_aux_loss_coef):
            return super()._get_train_sampler(train_dataset)
        rows = [pair_rows(example)[0] for example in self.train_dataset]
        return StepOrder(rows, self.args.train_batch_size, self.args.seed, lambda: int(self.state.epoch or 0))

    def _prepare_dataset(self, dataset, *_, **__):
        return dataset


def make_rows(count=12, seed=0, *, shared=0):
    """Pairs of random tokens with various lengths; the answers of a pair share a prefix of `shared` tokens."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(low, high):
        length = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(3, 500, (length,), generator=generator).tolist()

    rows = []
    for _ in range(count):
        beginning = tokens(shared, shared + 1) if shared else []
        rows.append(
            {
                "prompt_ids": tokens(2, 9),
                "chosen_ids": [*beginning, *tokens(1, 14), 2],
                "rejected_ids": [*beginning, *tokens(1, 14), 2],
            }
        )
    return rows


def arguments(folder, **changes):
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 2e-3,
        "lr_scheduler_type": "constant",
        "max_steps": 20,
        "precompute_ref_log_probs": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": None,
        "seed": 3,
    }
    return DPOConfig(**{**settings, **changes})


def plain(args):
    """Whether the arguments have none of the variants of TRL's own."""
    return args.f_divergence_type == "reverse_kl" and args.ld_alpha is None and not args.use_weighting


def by_micro_batch(args):
    """Whether the loss is a function of micro-batches by definition."""
    return any(name.startswith("aot") for name in args.loss_type)


def train(trainer):
    """Train and return the logged metrics of each step."""
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def curve(steps, name="loss"):
    return [step[name] for step in steps]


def worst(one, other):
    return max(abs(left - right) for left, right in zip(one, other, strict=True))
