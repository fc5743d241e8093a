"""Direct preference optimisation: M_t and its own pairs give M_t+1 (paper, section 2.3).

M_t is both the initial policy and the reference, whose log-probabilities are computed once and saved next to the
training's metrics (Rafailov et al. 2023, arXiv 2305.18290, eq. 7). Answers are trained on as the engine's own token
ids. Training uses TRL's DPOTrainer with the fused loss of `dpo_trainer`.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import DPOConfig

from srlm import losses
from srlm.errors import InputError
from srlm.models import chat, fit
from srlm.rows.equal_answers import has_equal_sides
from srlm.training import pair_targets, prefix_sharing, reference_logps, train
from srlm.training.callbacks import Progress
from srlm.training.dpo_trainer import PreferenceTrainer, can_fuse
from srlm.training.sampled_logps import known_logps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.config import DpoSection
    from srlm.reporter import Reporter
    from srlm.rows.records import Pair
    from srlm.training.sampled_logps import SampledAnswer
    from srlm.training.training_job import TrainingJob, TrainingResult

    TokenRow = dict[str, Any]  # lists of token ids, and the numbers of `pair_targets`


def train_dpo(
    pairs: Sequence[Pair],
    *,
    dpo: DpoSection,
    job: TrainingJob,
    report: Reporter,
    sampled: Mapping[str, SampledAnswer] = {},
) -> TrainingResult:
    """Train `job.base` on the pairs and save to `job.target`.

    `sampled` has answers, by their candidates' ids, that an engine has sampled from `job.base` in float32: their
    log-probabilities are not computed again.

    With `job.pause_at` training may stop before the end; the same call then resumes it (`train.run`).

    Pairs whose two answers are the same, as texts or as token ids, are dropped and counted: they prefer nothing.

    Raises:
        InputError: a token id is not in the model's vocabulary, no pair fits `dpo.max_length`, the answers of all pairs
            are the same, or a loss cannot take a pair's weight, confidence or scores.
        StageError: the model computes its logits in an unsupported way (`fused_head.check_head`).
    """
    tokenizer, given = train.load_tokenizer(job, report), len(pairs)
    pairs = [pair for pair in pairs if not has_equal_sides(pair)]
    _check_any(pairs, given)
    # Before the weights are loaded: a loss may refuse a pair, and a template a row.
    pair_targets.check(pairs, dpo.loss_type, is_fused=set(dpo.loss_type) <= losses.FUSED.keys())
    pairs, rows = _with_different_ids(pairs, encode(tokenizer, pairs), given, report)
    longest = train.max_length(dpo, job, report)
    fits = [pair_length(row) <= longest for row in rows]
    fitting = [{**row, **pair_targets.columns(pair)} for pair, row in compress(zip(pairs, rows, strict=True), fits)]
    known = known_logps(list(compress(pairs, fits)), fitting, sampled)
    names = [f"{row.chosen_id} against {row.rejected_id}" for row in compress(pairs, fits)]
    if not fitting:
        raise InputError(f"dpo: none of {len(rows)} pairs fits dpo.max_length ({longest}); raise it")
    model = train.load_trainable(dpo, job)
    chat.check_token_ids(model, [ids for pair in pairs for ids in (pair.chosen_token_ids, pair.rejected_token_ids)])
    is_fused = can_fuse(dpo.loss_type, model)
    pair_targets.check(pairs, dpo.loss_type, is_fused=is_fused)  # again: TRL trains a mixture of experts
    nodes = train.max_nodes(dpo, 2 * longest)
    form, reference_form = train.mask_forms(model, dpo, nodes, report)
    args = DPOConfig(
        **train.arguments(dpo, job, whole_steps=is_fused),
        beta=dpo.beta,
        loss_type=dpo.loss_type,
        loss_weights=dpo.loss_weights,
        label_smoothing=dpo.label_smoothing,
        precompute_ref_log_probs=True,
        disable_dropout=False,  # TRL's default would disable the configured dropout
    )
    trainer = PreferenceTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(fitting),
        processing_class=tokenizer,
        callbacks=[Progress("dpo", job.metrics, report)],
        peft_config=train.lora_config(dpo.lora, dpo.dropout),
        simpo_gamma=dpo.simpo_gamma,
        dpop_lambda=dpo.dpop_lambda,
        report=report,
        micro_batch_size=dpo.micro_batch_size,
        form=form,
        masked=form is None and prefix_sharing.needs_mask(model),
        reference_form=reference_form,
        max_nodes=nodes,
        reference_file=job.reference,
        reference_key=lambda: reference_logps.key_of(
            job.base, fitting, str(model.dtype), args.bf16, args.fp16, [each is not None for each in known]
        ),
        known_reference=known,
    )
    drops = {"dropped": len(rows) - len(fitting), "dropped_equal": given - len(rows)}
    return train.run(trainer, dpo, job, fitting, names=names, **drops, report=report)


def _with_different_ids(
    pairs: Sequence[Pair], rows: Sequence[TokenRow], given: int, report: Reporter
) -> tuple[list[Pair], list[TokenRow]]:
    """Return the pairs whose answers differ as token ids, and their rows; notes how many of the `given` are gone."""
    different = [row["chosen_ids"] != row["rejected_ids"] for row in rows]
    kept = list(compress(pairs, different))
    _check_any(kept, given)
    if len(kept) < given:
        report.note(f"dpo: dropped {given - len(kept)} of {given} pairs whose chosen and rejected answers are the same")
    return kept, list(compress(rows, different))


def _check_any(pairs: Sequence[Pair], given: int) -> None:
    """Check that there are pairs with different answers among those given."""
    if given and not pairs:
        raise InputError(
            f"dpo: the chosen and the rejected answer are the same in all {given} pairs; use pairs of different answers"
        )


def encode(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
    """Return pairs in TRL's tokenised form: token ids of prompt, chosen answer and rejected answer.

    Raises:
        InputError: the chat template refuses a pair; names it.
    """
    columns = fit.encode_pairs(tokenizer, pairs)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def pair_length(row: dict[str, list[int]]) -> int:
    """Return the length in tokens of a tokenised pair: the prompt plus the longer answer."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
