"""The paper's figure 1 as code.

    seed: IFT + EFT -- SFT on M0 --> M1
    for t = 1 .. T-1:
        M_t --> new prompts --> N candidates each --> scores of a signal (M_t judges itself) --> preference pairs
        M_t + pairs -- DPO, reference M_t --> M_t+1
    every model, M0 too, is evaluated: as a judge, head to head against earlier ones, and on instruction following

This runs in the driver process and imports nothing heavy: everything that needs a model runs in a worker process
(`srlm.workers`). A stage that an earlier run of the same command has finished is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from srlm.early_stop import EarlyStop
from srlm.errors import StageError
from srlm.evaluation import gates, schedule
from srlm.evaluation.baselines import has_sft_baseline
from srlm.judge_data.registry import judge_data_of
from srlm.judge_data.stage_names import JUDGEMENT_PAIRS, stages_of
from srlm.progress import count_lines
from srlm.rows.records import Example, Prompt, RankedAnswers, Verdict, read_rows, write_rows
from srlm.run import stage_inputs
from srlm.run.model_names import SFT_BASELINE, display_name, iteration, model_name
from srlm.run.stage_runner import data_seed
from srlm.signals.registry import signal_of
from srlm.signals.stage_names import stage_of
from srlm.stages import eft, pairs, prompt_files, prompt_sources, seed_sets, suppliers
from srlm.workers.jobs import Generate, Train, model_card
from srlm.workers.tasks import CandidatesTask, JudgementsTask, PromptsTask, SuppliedTask, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.run.run_dir import RunDir
    from srlm.run.stage_runner import StageRunner


@dataclass
class Loop:
    """One run.

    `on_evaluated` is called with t after M_t has been evaluated, and again if the data that M_t generated stops the
    run.
    """

    runner: StageRunner
    on_evaluated: Callable[[int], None] = lambda _: None

    def __post_init__(self) -> None:
        self.config: Config = self.runner.config
        self.run_dir: RunDir = self.runner.run_dir
        self.evaluation = schedule.Schedule(self.runner)

    def run(self) -> None:
        """Evaluate M0; train and evaluate M1 to M_T."""
        self.make_seed()
        self.evaluation.measure_base()
        self.train_m1()
        for t in range(1, self.config.iterations):
            self.take_prompts(t + 1)
            self.generate(t)
            self.evaluate(t)
            self.score(t + 1)
            self.build_pairs(t + 1)
            self.build_judge_pairs(t + 1)
            self.train_next(t + 1)
        self.generate(self.config.iterations)
        self.evaluate(self.config.iterations)

    # --- seed -> M1 ---------------------------------------------------------------------------------------------------

    def make_seed(self) -> None:
        """Read the human-written seed data and split it."""
        config, files = self.config, self.run_dir.seed
        sets = seed_sets.load(config.seed_data, config.seed)
        if note := sets.note():
            self.runner.report.note(note)
        files_of_rows: dict[str, list[Any]] = {"ift": sets.ift, "eft_ranked": sets.train, "eft_valid": sets.valid}
        left_out = {"ift": sets.ift_left_out, "eft_ranked": sets.eft_left_out}
        for name, rows in files_of_rows.items():
            file = files(f"{name}.jsonl")
            if not self.runner.is_done(f"seed/{name}", file, {"seed_data": [row.id for row in rows]}):
                write_rows(file, rows)
                counts = {"left_out": left_out[name]} if name in left_out else {}
                self.runner.finish(f"seed/{name}", {"rows": len(rows), **counts})
        self.evaluation.make_held_out(ift=sets.ift, ranked=sets.train, valid=sets.valid)

    def train_m1(self) -> None:
        """Fine-tune M0 on IFT (instruction tuning) and EFT (judge) examples, which gives M1."""
        if has_sft_baseline(self.config):
            self.train_sft(SFT_BASELINE, self.runner.base, ("seed/ift",), ("ift.jsonl",))
            self.judge_seed()
        self.build_eft()
        self.train_sft(1, self.runner.base, ("seed/ift", "seed/eft_train"), ("ift.jsonl", "eft_train.jsonl"))

    def judge_seed(self) -> None:
        """Let the SFT baseline judge the human-ranked answers, the paper's source of EFT examples, and evaluate it."""
        self.runner.set_title(display_name(SFT_BASELINE))
        tasks, file = self.evaluation.tasks(SFT_BASELINE), self.run_dir.seed("judgements.jsonl")
        inputs, trained = stage_inputs.seed_judgements(self.config), self.runner.training_stage(SFT_BASELINE)
        if not self.runner.is_done("seed/judgements", file, inputs, (trained, "seed/eft_ranked")):
            tasks.insert(0, JudgementsTask("seed/judgements", self.run_dir.seed("eft_ranked.jsonl"), file))
        if tasks:
            folder = str(self.run_dir.model(SFT_BASELINE))
            self.runner.launch(Generate(self.config, folder, self.config.seed, tuple(tasks)))

    def build_eft(self) -> None:
        """Build judge examples from the ranked answers."""
        config, files, file = self.config, self.run_dir.seed, self.run_dir.seed("eft_train.jsonl")
        judged = ("seed/judgements",) if has_sft_baseline(config) else ()
        inputs = stage_inputs.eft(config, from_judgements=bool(judged))
        if self.runner.is_done("seed/eft_train", file, inputs, ("seed/eft_ranked", *judged)):
            return
        ranked = read_rows(files("eft_ranked.jsonl"), RankedAnswers)
        if judged:
            verdicts = read_rows(files("judgements.jsonl"), Verdict)
            made = eft.examples_from_judgements(ranked, verdicts, eft=config.eft, judge=config.judge, seed=config.seed)
        else:
            made = eft.examples_from_ranks(ranked, eft=config.eft, judge=config.judge, seed=config.seed)
        if ranked and not made.rows:
            raise StageError(
                "eft: no judgement ranks a prompt's answers as the humans did, so there are no judge examples; raise "
                "eft.samples, or set eft.from=ranks for a model that is too small to judge yet"
            )
        if made.dropped:
            self.runner.report.note(
                f"seed: {made.dropped} of {made.of} judge examples left out at random (eft.max_share): their score, "
                f"{made.score:g}, is the most common one"
            )
        write_rows(file, made.rows)
        self.runner.finish("seed/eft_train", made.counts())

    # --- M_t -> its own data -> M_t+1 ---------------------------------------------------------------------------------

    def take_prompts(self, t: int) -> None:
        """Take the next slice of the user's prompts for M_t's data, if prompts come from files."""
        config, file = self.config, self.run_dir.file(t, "file_prompts.jsonl")
        if not prompt_sources.from_files(config.prompts):
            return
        held_out = [*read_rows(self.run_dir.seed("eft_valid.jsonl"), RankedAnswers)]
        texts = [row.prompt for row in held_out]
        for name in ("held_out", "early_stop"):
            if self.run_dir.entry(f"seed/{name}") is not None:
                texts += [row.text for row in read_rows(self.run_dir.seed(f"{name}.jsonl"), Prompt)]
        rows = prompt_files.slice_for(t, self._file_prompts, config.prompts, texts, config.seed)
        if not self.runner.is_done(f"m{t}/file_prompts", file, {"prompts.files": prompt_files.content_ids(rows)}):
            write_rows(file, rows)
            self.runner.finish(f"m{t}/file_prompts", {"rows": len(rows)})

    @cached_property
    def _file_prompts(self) -> list[Prompt]:
        ift = self.run_dir.seed("ift.jsonl")
        return prompt_files.read_prompt_files(self.config.prompts.files, lambda: read_rows(ift, Example))

    def generate(self, t: int) -> None:
        """Load M_t once: evaluate it, and generate prompts, candidates and their scores for M_t+1."""
        self.runner.set_title(f"M{t}")
        last = t == self.config.iterations
        tasks = [*self.evaluation.tasks(t), *([] if last else self._generation_tasks(t + 1))]
        tasks += [*self.evaluation.own_comparisons(t), *([] if last else self._judge_data_tasks(t + 1))]
        for model, config, some in self._by_model(t, tasks):
            folder = self.runner.resolve(model, None) if isinstance(model, str) else self._folder(model)
            self.runner.launch(Generate(config, folder, data_seed(self.config, t + 1), tuple(some)))

    def _by_model(self, t: int, tasks: Sequence[Task]) -> list[tuple[int | str, Config, list[Task]]]:
        """Divide tasks by the model that runs them: M_t, unless others write its prompts or answer them as well."""
        config, writer = self.config.at(t + 1), prompt_sources.writer(self.config.prompts)
        prompts, supplied = f"m{t + 1}/prompts", f"m{t + 1}/supplied"
        jobs: list[tuple[int | str, Config, list[Task]]] = []
        own: list[Task] = []
        for task in tasks:
            if task.name == prompts and writer is not None:
                jobs.append((writer, schedule.other_model(config), [task]))
            elif task.name == supplied:
                if any(before.name == prompts for before in own):  # M_t is loaded twice
                    jobs.append((t, config, own))
                    own = []
                jobs.append((*self._supplier(t + 1), [task]))
            else:
                own.append(task)
        return [*jobs, *([(t, config, own)] if own else [])]

    def _supplier(self, t: int) -> tuple[int | str, Config]:
        """Return the other model that answers the prompts of M_t's data, and the configuration that it needs."""
        config = self.config.at(t)
        if (outside := suppliers.other_model(config.suppliers)) is not None:
            return outside, schedule.other_model(config)
        return suppliers.run_model(config.suppliers, t) or 0, config

    def _generation_tasks(self, t: int) -> list[Task]:
        """Return the stages of M_t's data that are not done yet."""
        prompts, candidates, dropped = self._files(t, "prompts", "candidates", "prompts_dropped")
        config, policy = self.config.at(t), self.runner.training_stage(t - 1)
        signal, supplied = signal_of(config), self._supplied_file(t)
        writer, known = prompt_sources.writer(config.prompts), stage_inputs.known_prompts(config, self.run_dir, t)
        given = self.run_dir.file(t, "file_prompts.jsonl") if prompt_sources.from_files(config.prompts) else None
        seeds = ("seed/ift", *known, *([f"m{t}/file_prompts"] if given else []))
        scores = f"m{t}/{signal.stage}"
        stages: list[tuple[Task | None, dict[str, Any], tuple[str, ...]]] = [
            (
                PromptsTask(
                    f"m{t}/prompts", self.run_dir.seed("ift.jsonl"), prompts, dropped, tuple(known.values()), given
                ),
                stage_inputs.prompts(config, None if writer is None else self.runner.local_weights(writer)),
                (*seeds, policy) if writer is None else seeds,
            ),
            *([self._supplied_stage(t, prompts, supplied)] if supplied is not None else []),
            (
                CandidatesTask(f"m{t}/candidates", prompts, candidates, supplied),
                stage_inputs.candidates(config),
                (f"m{t}/prompts", *([f"m{t}/supplied"] if supplied is not None else []), policy),
            ),
            (
                signal.task(scores, prompts, candidates, self._scores_file(t)),
                signal.stage_inputs(),
                (f"m{t}/candidates", policy),
            ),
        ]
        return [
            task
            for task, inputs, depends_on in stages
            if task is not None and not self.runner.is_done(task.name, task.file, inputs, depends_on)
        ]

    def _judge_data_tasks(self, t: int) -> list[Task]:
        """Return the stages of what else teaches the judge M_t that are not done yet."""
        kind, folder = judge_data_of(self.config, t), self._training_file(t).parent
        stages = [] if kind is None else kind.stages(t, folder, self.runner.training_stage(t - 1))
        return [
            stage.task
            for stage in stages
            if not self.runner.is_done(stage.task.name, stage.task.file, stage.inputs, stage.depends_on)
        ]

    def _supplied_stage(self, t: int, prompts: Path, file: Path) -> tuple[Task, dict[str, Any], tuple[str, ...]]:
        """Return the stage of the answers of `suppliers.model`, its inputs and what it depends on."""
        config = self.config.at(t)
        outside, model = suppliers.other_model(config.suppliers), suppliers.run_model(config.suppliers, t)
        inputs = stage_inputs.supplied(config, None if outside is None else self.runner.local_weights(outside))
        if model == 0:
            inputs |= self.runner.base_inputs()
        trained = (self.runner.training_stage(model),) if model else ()
        return SuppliedTask(f"m{t}/supplied", prompts, file), inputs, (f"m{t}/prompts", *trained)

    def score(self, t: int) -> None:
        """Score the answers for M_t's data, where the signal needs no engine."""
        signal, file = signal_of(self.config.at(t)), self._scores_file(t)
        prompts, candidates = self._files(t, "prompts", "candidates")
        name, seed, models = f"m{t}/{signal.stage}", data_seed(self.config, t), signal.models(t)
        folders = {role: self._folder(number) for role, number in models.items()}
        job = signal.job(name, prompts, candidates, file, seed, folders)
        inputs, trained = signal.stage_inputs(), (self.runner.training_stage(n) for n in models.values() if n)
        if job is not None and not self.runner.is_done(name, file, inputs, (f"m{t}/candidates", *trained)):
            self.runner.launch(job)

    def evaluate(self, t: int) -> None:
        """Compare M_t with human preferences and, head to head, with earlier models, and report."""
        self.evaluation.read_preferences(t)
        self.evaluation.compare(t)
        self.on_evaluated(t)

    def build_pairs(self, t: int) -> None:
        """Select the preference pairs (or the winners) that M_t is trained on, if they pass the gates."""
        config, file = self.config.at(t), self._training_file(t)
        signal, scores = signal_of(config), self._scores_file(t)
        inputs = stage_inputs.pairs(config) | signal.pairs_inputs()
        if self.runner.is_done(f"m{t}/pairs", file, inputs, (f"m{t}/{signal.stage}",)):
            return
        prompts, candidates = self._files(t, "prompts", "candidates")
        settings: Any = {"pairs": config.pairs, "winners": self._by_sft, "seed": data_seed(config, t)}
        selected = pairs.write_pairs(
            prompts, candidates, file, lambda answers: signal.read(answers, scores), **settings
        )
        kl_from_m1 = self.evaluation.kl_from_m1(t) if len(selected) >= config.pairs.min_count else None
        folder, report = file.parent, self.runner.report
        try:
            result = gates.check_data(t, selected, config, kl_from_m1=kl_from_m1, folder=folder, report=report)
        except StageError:
            self.on_evaluated(t - 1)
            raise
        self.runner.finish(f"m{t}/pairs", result)

    def build_judge_pairs(self, t: int) -> None:
        """Build the pairs of judgements that M_t is also trained on, if it is (`judge_data.kind`)."""
        kind, file = judge_data_of(self.config, t), self.run_dir.file(t, f"{JUDGEMENT_PAIRS}.jsonl")
        if kind is None:
            return
        *written, pairs_stage = (f"m{t}/{name}" for name in stages_of(self.config, t))
        if self.runner.is_done(pairs_stage, file, kind.pairs_inputs(), tuple(written)):
            return
        made = kind.build(file.parent, data_seed(self.config, t))
        if not made.rows:
            self.runner.report.note(
                f"m{t}: no pair of judgements ({made.reasons()}), so it is trained on its pairs of responses alone"
            )
        write_rows(file, made.rows)
        self.runner.finish(pairs_stage, made.counts())

    def train_next(self, t: int) -> None:
        """Train M_t from M_t-1 with DPO on its pairs, or with SFT on its winners."""
        base, name = str(self.run_dir.model(t - 1)), f"m{t}/dpo"
        depends_on: tuple[str, ...] = (f"m{t}/pairs", self.runner.training_stage(t - 1))
        if self._by_sft:
            self.train_sft(t, base, depends_on, (f"../m{t}/positives.jsonl",))
            return
        data = [self._training_file(t)]
        if judge_data_of(self.config, t) is not None:
            data, depends_on = [*data, *self._files(t, JUDGEMENT_PAIRS)], (*depends_on, f"m{t}/{JUDGEMENT_PAIRS}")
        inputs, every = stage_inputs.dpo(self.config), self.config.dpo.eval_steps
        if every is not None:  # the judge's comparisons decide which checkpoint becomes the model
            inputs |= self.evaluation.judge_key_inputs()
            depends_on = (*depends_on, "seed/early_stop", *self.evaluation.judge_dependencies())
        if self.runner.is_done(name, self.run_dir.model(t), inputs, depends_on):
            return
        candidates = tuple(self._files(t, "candidates"))
        work = self._training(t, "dpo", base, tuple(data), candidates)
        if every is None:
            self.runner.launch(work)
        else:
            stop = EarlyStop(self.runner, self.evaluation, t, depends_on)
            self.runner.finish(name, stop.train(work, every, self.config.dpo.early_stopping_patience))

    # --- shared -------------------------------------------------------------------------------------------------------

    def train_sft(self, model: int | str, base: str, depends_on: tuple[str, ...], files: tuple[str, ...]) -> None:
        """Fine-tune `base` on files of the seed folder, which gives M_t or the SFT baseline."""
        inputs, from_base = stage_inputs.sft(self.config), base == self.runner.base
        if from_base:
            inputs |= self.runner.base_inputs()
        if not self.runner.is_done(f"{model_name(model)}/sft", self.run_dir.model(model), inputs, depends_on):
            if from_base:
                self.runner.check_base()
            data = tuple(self.run_dir.seed(file).resolve() for file in files)
            self.runner.launch(self._training(model, "sft", base, data))

    def _training(
        self, model: int | str, kind: str, base: str, data: tuple[Path, ...], sampled: tuple[Path, ...] = ()
    ) -> Train:
        self.runner.set_title(display_name(model))
        target, metrics, name = self.run_dir.model(model), self.run_dir.file(model, "metrics.jsonl"), model_name(model)
        card = model_card(self.config, name, iteration(name), kind, sum(count_lines(file) for file in data))
        return Train(f"{name}/{kind}", kind, self.config, base, target, metrics, data, card, sampled=sampled)

    def _folder(self, t: int) -> str:
        return str(self.run_dir.model(t)) if t else self.runner.base

    def _training_file(self, t: int) -> Path:
        return self.run_dir.file(t, "positives.jsonl" if self._by_sft else "pairs.jsonl")

    def _supplied_file(self, t: int) -> Path | None:
        return self.run_dir.file(t, "supplied.jsonl") if self.config.at(t).suppliers.model is not None else None

    def _scores_file(self, t: int) -> Path:
        return self.run_dir.file(t, f"{stage_of(self.config.signal.kind)}.jsonl")

    @property
    def _by_sft(self) -> bool:
        return self.config.train.kind == "sft"

    def _files(self, t: int, *names: str) -> list[Path]:
        return [self.run_dir.file(t, f"{name}.jsonl") for name in names]
