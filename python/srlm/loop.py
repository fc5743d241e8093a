"""The paper's figure 1 as code.

    seed: IFT + EFT -- SFT on M0 --> M1
    for t = 1 .. T-1:
        M_t --> new prompts --> N candidates each --> K verdicts each (M_t judges itself) --> preference pairs
        M_t + pairs -- DPO, reference M_t --> M_t+1
    every M_t is evaluated: as a judge, against the models before it, and as a follower of instructions

This process imports nothing heavy: whatever needs a model happens in a worker process (`launcher`, `worker`). Each step
is skipped if an earlier run of the same command has done it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.early_stop import EarlyStop
from srlm.errors import StageError
from srlm.evaluation import gates, schedule
from srlm.models import registry
from srlm.progress import count_lines
from srlm.rows.json_lines import read_bytes
from srlm.rows.records import DroppedPrompt, RankedAnswers, Verdict, iter_rows, read_rows, write_rows, write_text
from srlm.run import cache_keys
from srlm.run.stage_runner import data_seed
from srlm.stages import eft, judge, pairs, seed
from srlm.workers.jobs import Generate, ReadByM1, Train
from srlm.workers.tasks import CandidatesTask, JudgementsTask, PromptsTask, Task, VerdictsTask

if TYPE_CHECKING:
    from collections.abc import Callable

    from srlm.config import Config
    from srlm.run.run_dir import RunDir
    from srlm.run.stage_runner import Stages


@dataclass
class Loop:
    """One run.

    `told` is called with t after M_t has been evaluated, as far as that goes by itself, and once more if what M_t made
    for the next model stops the run.
    """

    stages: Stages
    told: Callable[[int], None] = lambda _: None

    def __post_init__(self) -> None:
        self.config: Config = self.stages.config
        self.run_dir: RunDir = self.stages.run_dir
        self.evaluation = schedule.Schedule(self.stages)

    def run(self) -> None:
        """Train and evaluate M1 to M_T."""
        self.make_seed()
        self.sft(self.stages.resolve(self.config.model.name, self.config.model.revision))
        for t in range(1, self.config.iterations):
            self.generate(t)
            self.evaluate(t)
            self.build_pairs(t + 1)
            self.train_next(t + 1)
        self.generate(self.config.iterations)
        self.evaluate(self.config.iterations)

    # --- seed -> M1 ---------------------------------------------------------------------------------------------------

    def make_seed(self) -> None:
        """Read the human-written seed set and split it."""
        config, files = self.config, self.run_dir.seed
        ift = seed.load_ift(config.seed_data, config.seed)
        train, valid = seed.load_eft(config.seed_data, config.seed)
        ift, given = seed.without_prompts(ift, valid), len(ift)
        if len(ift) < given:
            self.stages.report.note(
                f"seed: {given - len(ift)} IFT examples left out: their prompts are held out for the judge"
            )
        files_of_rows: dict[str, list[Any]] = {"ift": ift, "eft_ranked": train, "eft_valid": valid}
        for name, rows in files_of_rows.items():
            file = files(f"{name}.jsonl")
            if not self.stages.is_done(f"seed/{name}", file, {"seed_data": [row.id for row in rows]}):
                write_rows(file, rows)
                self.stages.finish(f"seed/{name}", {"rows": len(rows)})
        self.evaluation.make_held_out(ift=ift, ranked=train, valid=valid)

    def sft(self, base: str) -> None:
        """Fine-tune M0 on IFT and EFT, which gives M1."""
        if self._judges_seed:
            self.train_sft("m0", base, ("seed/ift",), ("ift.jsonl",))
            self.judge_seed()
        self.build_eft()
        self.train_sft("m1", base, ("seed/ift", "seed/eft_train"), ("ift.jsonl", "eft_train.jsonl"))

    def judge_seed(self) -> None:
        """Let the IFT-trained model judge the answers that humans ranked (the paper's way to EFT)."""
        file = self.run_dir.seed("judgements.jsonl")
        task = JudgementsTask("seed/judgements", self.run_dir.seed("eft_ranked.jsonl"), file)
        but = (*cache_keys.JUDGEMENTS, *cache_keys.drawing(self.config.judge))
        parts = self.stages.sections("judge", "eft.samples", "engine", but=but)
        if not self.stages.is_done(task.name, file, parts, ("m0/sft", "seed/eft_ranked")):
            self.stages.launch(Generate(self.config, str(self.run_dir.model(0)), self.config.seed, (task,)))

    def build_eft(self) -> None:
        """Make judge examples from the ranked answers."""
        config, files = self.config, self.run_dir.seed
        judged = ("seed/judgements",) if self._judges_seed else ()
        file = files("eft_train.jsonl")
        but = (*cache_keys.ASKING, *cache_keys.drawing(config.judge)) if judged else (*cache_keys.ASKING, "eft.samples")
        parts = self.stages.sections("judge", "eft", but=but)
        if self.stages.is_done("seed/eft_train", file, parts, ("seed/eft_ranked", *judged)):
            return
        ranked = read_rows(files("eft_ranked.jsonl"), RankedAnswers)
        if judged:
            verdicts = read_rows(files("judgements.jsonl"), Verdict)
            rows = eft.examples_from_judgements(ranked, verdicts, eft=config.eft, judge=config.judge, seed=config.seed)
        else:
            rows = eft.examples_from_ranks(ranked, eft=config.eft, judge=config.judge, seed=config.seed)
        if ranked and not rows:
            raise StageError(
                "eft: no judgement ordered a prompt's answers as the humans did, so nothing can teach the judge; "
                "raise eft.samples, or set eft.from=ranks for a model too small to judge yet"
            )
        write_rows(file, rows)
        self.stages.finish("seed/eft_train", {"rows": len(rows)})

    @property
    def _judges_seed(self) -> bool:
        """Whether judge examples are made of a model's judgements of the ranked answers."""
        return bool(self.config.seed_data.eft) and self.config.eft.source == "judgements"

    # --- M_t -> its own data -> M_t+1 ---------------------------------------------------------------------------------

    def generate(self, t: int) -> None:
        """Load M_t once: measure it, and let it write prompts, candidates and verdicts for M_t+1."""
        self.stages.titled(f"M{t}")
        last = t == self.config.iterations
        tasks = [*self.evaluation.tasks(t), *([] if last else self._generation_tasks(t + 1))]
        if self.config.prompts.model is not None and not last:
            writer, tasks = self._split_prompts(t + 1, tasks)
            if writer:
                folder = self.stages.resolve(self.config.prompts.model, None)
                config = schedule.other_model(self.config)
                self.stages.launch(Generate(config, folder, data_seed(self.config, t + 1), tuple(writer)))
        if tasks:
            folder = str(self.run_dir.model(t))
            self.stages.launch(Generate(self.config, folder, data_seed(self.config, t + 1), tuple(tasks)))

    def evaluate(self, t: int) -> None:
        """Compare M_t with the models before it, and tell how it stands."""
        self.evaluation.compare(t)
        self.told(t)

    def build_pairs(self, t: int) -> None:
        """Choose the pairs (or the perfect answers) that M_t will be trained on."""
        config, file = self.config, self._training_file(t)
        parts = self.stages.sections("pairs", "judge.score", "judge.max_score", but=cache_keys.choosing(config.pairs))
        if self.stages.is_done(f"m{t}/pairs", file, parts, (f"m{t}/verdicts",)):
            return
        prompts, candidates, verdicts = (
            self.run_dir.file(t, f"{name}.jsonl") for name in ("prompts", "candidates", "verdicts")
        )
        made = pairs.write(
            prompts, candidates, verdicts, file, pairs=config.pairs, judge=config.judge, seed=data_seed(config, t)
        )
        enough = len(made) >= config.pairs.min_count
        found = gates.quality(
            made.answers,
            made.scores,
            made.answers.prompts - sum(pairs.prompts_without(made.drops).values()),
            judge=config.judge,
            kl_from_m1=self._kl(t) if enough else None,
        )
        missed = gates.unmet(found, config.gates)
        kept = {**asdict(found), "gates": [asdict(gate) for gate in missed]}
        facts = {"rows": len(made), "drops": made.drops, **self._facts(t, made), "quality": kept}
        self._mind(t, facts, missed, None if enough else too_few_pairs(t, len(made), made.drops, file))
        self.stages.finish(f"m{t}/pairs", facts)
        self.run_dir.file(t, gates.FILE).unlink(missing_ok=True)

    def train_next(self, t: int) -> None:
        """Train M_t from M_t-1 on its pairs (DPO), or on its perfect answers (SFT)."""
        base, name = str(self.run_dir.model(t - 1)), f"m{t}"
        made_from: tuple[str, ...] = (f"{name}/pairs", self.stages.trained(t - 1))
        if self.config.pairs.method == "positives_only":
            self.train_sft(name, base, made_from, (f"../{name}/positives.jsonl",))
            return
        every = self.config.dpo.eval_steps
        parts = self.stages.sections("dpo", but=cache_keys.NO_CHECKPOINTS if every is None else ())
        if every is not None:  # then the judge decides, too, which checkpoint becomes the model
            parts |= self.stages.sections("candidates", but=cache_keys.ONCE) | self.evaluation.judge_parts()
            made_from = (*made_from, "seed/held_out", *self.evaluation.judge_stages())
        if self.stages.is_done(f"{name}/dpo", self.run_dir.model(t), parts, made_from):
            return
        work = self._training(f"{name}/dpo", "dpo", base, (self._training_file(t),))
        if every is None:
            self.stages.launch(work)
        else:
            stop = EarlyStop(self.stages, self.evaluation, t, made_from)
            self.stages.finish(f"{name}/dpo", stop.train(work, every, self.config.dpo.patience))

    # --- shared -------------------------------------------------------------------------------------------------------

    def train_sft(self, name: str, base: str, made_from: tuple[str, ...], files: tuple[str, ...]) -> None:
        """Fine-tune `base` on files of the seed folder into the model `name`."""
        target = self.run_dir.model(int(name[1:]))
        parts = self.stages.sections("sft")
        if int(name[1:]) < 2:
            weights = self._base_weights(base)
            parts |= self.stages.sections("model", but=cache_keys.BASE_MODEL) | {cache_keys.BASE_WEIGHTS: weights}
        if not self.stages.is_done(f"{name}/sft", target, parts, made_from):
            data = tuple(self.run_dir.seed(file).resolve() for file in files)
            self.stages.launch(self._training(f"{name}/sft", "sft", base, data))

    def _training(self, name: str, kind: str, base: str, data: tuple[Path, ...]) -> Train:
        model, t = name.partition("/")[0], int(name[1 : name.index("/")])
        self.stages.titled(f"M{t}")
        rows = sum(count_lines(file) for file in data)
        card = {
            "model": f"{model} of run {self.config.name}",
            "base model": self.config.model.name,
            "iteration": str(t),
            "trained by": kind.upper(),
            "trained from": f"m{t - 1}" if t > 1 else self.config.model.name,
            "configuration": "config.yaml of the run's folder",
            "rows given": str(rows),
        }
        target, metrics = self.run_dir.model(t), self.run_dir.file(t, "metrics.jsonl")
        return Train(name, kind, self.config, base, target, metrics, data, card)

    def _mind(self, t: int, facts: dict[str, Any], missed: list[gates.Unmet], too_few: str | None) -> None:
        """Say which gates were not met, and stop where one of them says so, or where there are too few pairs.

        The stage does not count as done then: the same command asks the gates again. What was found stays in a file
        of its own, and is told.
        """
        for gate in missed:
            if gate.action == "warn":
                self.stages.report.note(f"m{t}: {gate.text}")
        stops = [gate.text for gate in missed if gate.action == "stop"]
        reason = too_few or (gates.not_trained(t, stops) if stops else None)
        if reason is None:
            return
        write_text(self.run_dir.file(t, gates.FILE), json.dumps({**facts, "stopped": reason}, indent=1) + "\n")
        self.told(t - 1)
        raise StageError(reason)

    def _kl(self, t: int) -> float | None:
        """Return how far the model that wrote the data for M_t has moved from M1, if a gate asks for it."""
        if self.config.gates.kl_from_m1 is None:
            return None
        if t == 2:
            return 0.0  # M1 wrote the data itself
        files = [self.run_dir.file(t, f"{name}.jsonl") for name in ("prompts", "candidates", "m1_readings")]
        name = f"m{t}/m1_readings"
        made_from = (f"m{t}/candidates", self.stages.trained(1))
        if not self.stages.is_done(name, files[2], self.stages.sections(), made_from):
            folder = str(self.run_dir.model(1))
            self.stages.launch(ReadByM1(name, self.config, folder, data_seed(self.config, t), *files))
        entry = self.run_dir.entry(name)
        return None if entry is None else entry["kl_from_m1"]

    def _generation_tasks(self, t: int) -> list[Task]:
        prompts, candidates, verdicts, dropped = (
            self.run_dir.file(t, f"{name}.jsonl") for name in ("prompts", "candidates", "verdicts", "prompts_dropped")
        )
        trained = self.stages.trained(t - 1)
        parts, but = self.stages.sections, ("judge.score", *cache_keys.drawing(self.config.judge))
        ordered: list[tuple[Task, dict[str, Any], tuple[str, ...]]] = [
            (
                PromptsTask(f"m{t}/prompts", self.run_dir.seed("ift.jsonl"), prompts, dropped),
                self._prompts_parts(),
                ("seed/ift", trained) if self.config.prompts.model is None else ("seed/ift",),
            ),
            (
                CandidatesTask(f"m{t}/candidates", prompts, candidates),
                parts("engine", "candidates"),
                (f"m{t}/prompts", trained),
            ),
            (
                VerdictsTask(f"m{t}/verdicts", prompts, candidates, verdicts),
                parts("engine", "judge", but=but),
                (f"m{t}/candidates", trained),
            ),
        ]
        return [
            task
            for task, made_with, made_from in ordered
            if not self.stages.is_done(task.name, task.file, made_with, made_from)
        ]

    def _prompts_parts(self) -> dict[str, Any]:
        writer = self.config.prompts.model
        weights = None if writer is None else self._base_weights(writer)
        if weights is None:
            return self.stages.sections("engine", "prompts")
        return self.stages.sections("engine", "prompts", but=("prompts.model",)) | {"prompts.model's weights": weights}

    def _base_weights(self, folder: str) -> str | None:
        """Return a hash of a model that is none of the run's, where it is on this machine."""
        return self.run_dir.weights_hash(folder) if registry.is_local(folder) else None

    def _split_prompts(self, t: int, tasks: list[Task]) -> tuple[list[Task], list[Task]]:
        name = f"m{t}/prompts"
        return [task for task in tasks if task.name == name], [task for task in tasks if task.name != name]

    def _training_file(self, t: int) -> Path:
        positives = self.config.pairs.method == "positives_only"
        return self.run_dir.file(t, "positives.jsonl" if positives else "pairs.jsonl")

    def _facts(self, t: int, made: pairs.Chosen) -> dict[str, Any]:
        """What the closing table says about an iteration's data."""
        answers, means = made.answers, made.scores.means(self.config.judge.score)
        dropped = self.run_dir.file(t, "prompts_dropped.jsonl")
        reasons = Counter(row.reason for row in iter_rows(dropped, DroppedPrompt)) if dropped.exists() else {}
        return {
            "prompts": answers.prompts,
            "prompts_dropped": dict(sorted(reasons.items())),
            "candidates": len(answers.length),
            "verdicts": made.scores.outcomes,
            "mean_score": sum(map(float, means)) / len(means) if len(means) else None,
            "mean_length": int(answers.length.sum()) / max(1, len(answers.length)),
            "truncated": int(answers.cut_off.sum()),
        }


def preflight(config: Config) -> None:
    """Check what can be checked before anything is written, so that a slip leaves no run's folder behind.

    Raises:
        InputError: the judge prompt, a seed file, accelerate's file, a chat template or a local model is no good.
    """
    judge.check(config.judge)
    seed.load_ift(config.seed_data, config.seed)
    seed.load_eft(config.seed_data, config.seed)
    if config.launch.accelerate_config is not None:
        read_bytes(Path(config.launch.accelerate_config))
    if config.model.chat_template is not None:
        registry.read_chat_template(config.model.chat_template)
    for name in (config.model.name, config.prompts.model):
        if name is not None and (registry.is_local(name) or registry.is_path(name)):
            registry.resolve(name)
    schedule.preflight(config)


def too_few_pairs(t: int, found: int, drops: dict[str, int], file: Path) -> str:
    """Return what to tell a user whose iteration yields too few pairs."""
    over_cap = drops.get("over_cap", 0)
    drops = pairs.prompts_without(drops)
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in drops.items() if count)
    worst = max(drops, key=lambda reason: drops[reason], default="")
    advice = {
        "tied": "set judge.score=expected, raise judge.samples, or teach the judge with more EFT examples",
        "too_few_scored": "the judge's replies hold no score: look at verdicts.jsonl; raise judge.max_tokens or set "
        "judge.justify=false",
        "too_few_usable": "answers are cut off or empty: raise candidates.max_tokens or set pairs.keep_truncated=true",
        "below_margin": "lower pairs.min_margin",
        "same_text": "raise candidates.temperature",
        "no_perfect_answer": "no answer has a perfect score: use pairs.method=best_worst",
    }.get(worst, "ask for more prompts (prompts.count)")
    if over_cap:
        advice = f"raise pairs.max_per_prompt, which left out {over_cap} pairs"
    return (
        f"m{t}: only {found} pairs (pairs.min_count asks for more); prompts without one: {reasons or 'none'}. To get "
        f"more, {advice}. All rows are kept in {file.parent}; run the same command again with the changed setting"
    )
