"""Trainings that pause or are killed, and resume: which checkpoints are used, and that the result is bit-identical.

Every training here has dropout, several micro-batches per step, a warm-up, a cosine schedule and three and a half
epochs of two steps, the second of which has fewer rows.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from srlm.config import LoraSection
from srlm.engines import weight_check
from srlm.errors import InputError, StageError
from srlm.models import registry
from srlm.training import callbacks, checkpoints, train
from srlm.training.training_job import TrainingJob
from transformers import MixtralConfig, MixtralForCausalLM, Trainer

from tests.training.trials import EXAMPLES, PAIRS, Trial, example

LORA = LoraSection(rank=4, alpha=8)
SCHEDULE = {
    "batch_size": 4,
    "micro_batch_size": 2,
    "epochs": 3.5,
    "dropout": 0.3,
    "warmup_ratio": 0.3,
    "learning_rate": 5e-3,
    "min_learning_rate": 1e-3,
}
STEPS = 7
TIMES = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}


class Killed(BaseException):
    """Ends a training like a kill: nothing catches it, and nothing is cleaned up."""


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture(scope="module")
def whole(folder, tiny_model):
    """Uninterrupted trainings, run once each: (kind, lora) to result."""
    made = {}

    def train(kind, lora=None):
        if (kind, lora is None) not in made:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            made[kind, lora is None] = call(Trial(folder / f"{kind}-{lora is None}", tiny_model), kind, lora)
            torch.set_num_threads(threads)
        return made[kind, lora is None]

    return train


@pytest.fixture
def trial(tmp_path, tiny_model):
    return Trial(tmp_path, tiny_model)


def call(trial, kind, lora=None, rows=None, *, pause_at=None, **saves):
    """Run a training as a worker does: only files are left from an earlier call."""
    pause_to = None if pause_at is None else trial.folder / "m1" / "checkpoints" / f"step-{pause_at}"
    kept = {
        name: getattr(trial.job, name) for name in ("base", "target", "metrics", "model", "seed", "processes", "card")
    }
    trial.job = TrainingJob(**kept, pause_at=pause_at, pause_to=pause_to, **saves)
    trial.report.starts.clear()
    trial.report.notes.clear()
    rows = rows or {"sft": EXAMPLES[:7], "dpo": PAIRS}[kind]
    return getattr(trial, kind)(rows, lora=lora, **SCHEDULE)


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def rows_of(metrics):
    lines = metrics.read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines]


def kept(trial):
    return sorted(path.name for path in checkpoints.trainer_folder(trial.job.target).glob("checkpoint-*"))


def check_same(done, whole):
    """The files are bit-identical to those of an uninterrupted training, and no others are left."""
    assert same(done.job.target, whole.job.target)
    assert rows_of(done.job.metrics) == rows_of(whole.job.metrics)
    assert done.trained == whole.trained
    assert done.trained.finished
    assert not checkpoints.trainer_folder(done.job.target).exists()


def killed_at(monkeypatch, owner, name, time=1):
    """Kill a training at the `time`-th call of a function."""
    original, calls = getattr(owner, name), []

    def last(*args, **kwargs):
        calls.append(1)
        if len(calls) == time:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, last)


def kill(trial, monkeypatch, owner, name, time=1, **settings):
    with monkeypatch.context() as patch:
        killed_at(patch, owner, name, time)
        with pytest.raises(Killed):
            call(trial, "sft", **settings)


# --- pausing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize(("kind", "pauses"), [("sft", [4, 5]), ("dpo", [3])])
def test_paused_and_resumed_equals_uninterrupted(trial, whole, kind, pauses, lora):
    """At the end of an epoch, and again in the middle of the next, which began in the random state of the first."""
    for pause in pauses:
        done = call(trial, kind, lora, pause_at=pause)
        assert (done.trained.steps, done.trained.finished) == (pause, False)
        assert not done.job.target.exists()
        assert rows_of(done.job.metrics) == rows_of(whole(kind, lora).job.metrics)[:pause]
        assert kept(trial) == [f"checkpoint-{pause}"]
    done = call(trial, kind, lora)
    assert done.report.starts == [(kind, STEPS, pauses[-1])]
    assert done.report.notes[-1].startswith(f"training: resuming after step {pauses[-1]} from ")
    check_same(done, whole(kind, lora))
    losses = [row["loss"] for row in rows_of(done.job.metrics) if "loss" in row]
    assert len(losses) == STEPS
    assert done.trained.train_loss == pytest.approx(sum(losses) / STEPS)
    assert rows_of(done.job.metrics)[-1]["train_loss"] == done.trained.train_loss


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_the_model_of_a_pause(trial, tiny_model, monkeypatch, lora):
    """It equals the model after that step, in a folder like any other model's."""
    then = {}
    original = callbacks.Progress.on_step_end

    def watch(self, args, state, control, model, **rest):
        if state.global_step == 2:
            plain = model.get_base_model() if lora else model
            ids = torch.tensor([[5, 6, 7, 8]])
            was_training = plain.training
            with torch.no_grad():
                then["logits"] = plain.eval()(ids).logits
            plain.train(was_training)
        return original(self, args, state, control, model=model, **rest)

    monkeypatch.setattr(callbacks.Progress, "on_step_end", watch)
    done = call(trial, "sft", lora, pause_at=2)
    names = {path.name for path in done.job.pause_to.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
    assert names <= {path.name for path in Path(tiny_model).iterdir()} | {"README.md", weight_check.FILE}
    loaded = registry.load_model(str(done.job.pause_to), dtype=torch.float32).eval()
    with torch.no_grad():
        logits = loaded(torch.tensor([[5, 6, 7, 8]])).logits
    assert torch.allclose(logits, then["logits"], atol=1e-5 if lora else 0, rtol=0)
    config = json.loads((done.job.pause_to / "config.json").read_text(encoding="utf-8"))
    assert config["attention_dropout"] == 0.0
    assert "| optimizer steps | 2 |" in (done.job.pause_to / "README.md").read_text(encoding="utf-8")


def test_a_repeated_pause_trains_nothing(trial, whole):
    """The driver may have stopped before it recorded that the pause was reached."""
    first = call(trial, "sft", pause_at=3).trained
    shutil.copytree(trial.job.pause_to, trial.folder / "copy")
    shutil.rmtree(trial.job.pause_to)
    again = call(trial, "sft", pause_at=3)
    assert again.trained == first
    assert again.report.starts == []
    assert same(again.job.pause_to, trial.folder / "copy")
    check_same(call(trial, "sft"), whole("sft"))


@pytest.mark.parametrize("pause", [STEPS, STEPS + 2])
def test_a_pause_at_the_end_or_after_it_is_ignored(trial, whole, pause):
    done = call(trial, "sft", pause_at=pause)
    assert not done.job.pause_to.exists()
    check_same(done, whole("sft"))


def test_a_pause_before_the_checkpoint_starts_over(trial):
    call(trial, "sft", pause_at=4)
    four = rows_of(trial.job.metrics)
    done = call(trial, "sft", pause_at=2)
    assert (done.trained.steps, done.report.starts) == (2, [("sft", STEPS, 0)])
    assert "is past the pause at step 2; starting over" in done.report.notes[0]
    assert rows_of(done.job.metrics) == four[:2]
    assert kept(done) == ["checkpoint-2"]


def test_a_pause_at_weights_that_are_not_finite(trial, monkeypatch):
    monkeypatch.setitem(SCHEDULE, "learning_rate", 1e30)
    monkeypatch.setitem(SCHEDULE, "warmup_ratio", 0.0)
    with pytest.raises(StageError, match=r"not finite; rows of the step: .*; no checkpoint was saved"):
        call(trial, "sft", pause_at=3)
    assert not trial.job.pause_to.exists()
    assert checkpoints.latest(checkpoints.trainer_folder(trial.job.target)) is None


@pytest.mark.parametrize(
    "fields", [{"pause_at": 2}, {"pause_to": Path("x")}, {"save_steps": 0}, {"pause_at": 0, "pause_to": Path("x")}]
)
def test_invalid_jobs(trial, fields):
    with pytest.raises(ValueError, match="pause_at and pause_to must be given together, and steps must be at least 1"):
        TrainingJob(trial.base, trial.job.target, trial.job.metrics, trial.job.model, 1, 1, {}, **fields)


def test_weights_that_are_saved_under_other_names(tmp_path, tiny_tokenizer):
    """Experts are saved one by one and fused in memory; the trainer alone would resume from the base model's."""
    base = tmp_path / "base"
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(3)
    config = MixtralConfig(vocab_size=512, num_key_value_heads=2, num_local_experts=2, **shape)
    MixtralForCausalLM(config).save_pretrained(base)
    tiny_tokenizer.save_pretrained(base)
    one, two = Trial(tmp_path / "one", str(base)), Trial(tmp_path / "two", str(base))
    call(one, "sft")
    call(two, "sft", pause_at=3)
    check_same(call(two, "sft"), one)


# --- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "name", "time", "step"),
    [
        (Trainer, "save_model", 1, 0),  # before the first checkpoint
        (Trainer, "_save_rng_state", 2, 2),  # in the middle of the second, after weights and optimizer
        (checkpoints, "write_text", 2, 2),  # before the second is marked as complete
        (checkpoints, "keep_only", 3, 4),  # after that, before the first is removed (`find_checkpoint` calls it first)
        (callbacks.Progress, "on_step_end", 6, 4),  # between two checkpoints
    ],
)
def test_killed(trial, whole, monkeypatch, owner, name, time, step):
    kill(trial, monkeypatch, owner, name, time, save_steps=2)
    assert not trial.job.target.exists()
    done = call(trial, "sft", save_steps=2)
    assert done.report.starts == [("sft", STEPS, step)]
    assert len(done.report.notes) == (step > 0)  # that it resumes
    check_same(done, whole("sft"))


def test_only_the_last_checkpoint_is_kept(trial, monkeypatch):
    kill(trial, monkeypatch, callbacks.Progress, "on_step_end", 6, save_steps=1)
    assert kept(trial) == ["checkpoint-5"]


def test_saved_by_time(trial, whole, monkeypatch):
    """A step takes 25 s of a clock that only steps move."""
    clock, original = SimpleNamespace(now=0.0), callbacks.Progress.on_step_end

    def step(self, *args, **options):
        clock.now += 25.0
        original(self, *args, **options)

    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(callbacks.Progress, "on_step_end", step)
    kill(trial, monkeypatch, callbacks.Progress, "on_step_end", 6, save_minutes=1.0)
    assert kept(trial) == ["checkpoint-3"]
    check_same(call(trial, "sft", save_minutes=1.0), whole("sft"))
    assert trial.report.starts == [("sft", STEPS, 3)]


def test_damaged_checkpoints(trial, whole):
    call(trial, "dpo", pause_at=3)
    folder = checkpoints.trainer_folder(trial.job.target)
    with (folder / "checkpoint-3" / "optimizer.pt").open("r+b") as file:
        file.truncate(1000)
    done = call(trial, "dpo")
    assert done.report.starts == [("dpo", STEPS, 0)]  # but the reference is reused
    check_same(done, whole("dpo"))


def test_metrics_after_the_checkpoint_are_rewritten(trial, whole, monkeypatch):
    kill(trial, monkeypatch, callbacks.Progress, "on_log", 6, save_steps=4)
    assert [row["step"] for row in rows_of(trial.job.metrics)] == [1, 2, 3, 4, 5]
    with trial.job.metrics.open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "lo')
    check_same(call(trial, "sft"), whole("sft"))


# --- another training -------------------------------------------------------------------------------------------------


def test_other_rows_start_over(trial, tmp_path, tiny_model):
    call(trial, "sft", pause_at=3)
    others = [*EXAMPLES[:6], example(20)]
    done = call(trial, "sft", rows=others)
    assert done.report.starts == [("sft", STEPS, 0)]
    assert "is of another training; starting over" in done.report.notes[0]
    check_same(done, call(Trial(tmp_path / "new", tiny_model), "sft", rows=others))


def test_key(tiny_model, tmp_path, monkeypatch):
    """It depends on rows, their order, settings, weights and versions, not on the folder's name or the tokenizer."""
    rows = [{"input_ids": [1, 2], "completion_mask": [0, 1]}, {"input_ids": [3], "completion_mask": [1]}]
    key = checkpoints.key_of(tiny_model, rows, "a", 1)
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    (copy / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert checkpoints.key_of(str(copy), rows, "a", 1) == key
    changed = [
        checkpoints.key_of(tiny_model, rows[::-1], "a", 1),
        checkpoints.key_of(tiny_model, [{**rows[0], "completion_mask": [1, 1]}, rows[1]], "a", 1),
        checkpoints.key_of(tiny_model, rows, "a", 2),
    ]
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    changed.append(checkpoints.key_of(str(copy), rows, "a", 1))
    monkeypatch.setattr(checkpoints.metadata, "version", lambda package: f"{package} 99")
    changed.append(checkpoints.key_of(tiny_model, rows, "a", 1))
    assert len({key, *changed}) == 6


@pytest.mark.parametrize(
    ("fsdp_version", "deepspeed", "supported"),
    [(None, False, True), (2, False, True), (1, False, False), (None, True, False)],
)
def test_sharding_that_supports_checkpoints(fsdp_version, deepspeed, supported):
    """With a stub trainer."""
    state = SimpleNamespace(fsdp_plugin=SimpleNamespace(fsdp_version=fsdp_version))
    trainer = SimpleNamespace(
        is_fsdp_enabled=fsdp_version is not None,
        is_deepspeed_enabled=deepspeed,
        accelerator=SimpleNamespace(state=state),
    )
    assert callbacks.can_resume(trainer) == supported


def test_sharding_that_does_not_support_checkpoints(trial, monkeypatch):
    """A pause is an error before the first step; without one there is a note, and the training runs without them."""
    monkeypatch.setattr(train, "can_resume", lambda _: False)
    with pytest.raises(InputError, match=r"launch\.accelerate_config: .* cannot pause .*; set fsdp_version: 2 there"):
        call(trial, "sft", pause_at=3)
    assert trial.report.starts == []
    done = call(trial, "sft", save_steps=2)
    assert "training: no checkpoints" in done.report.notes[0]
    assert done.trained.finished
    assert kept(done) == []


# --- files ------------------------------------------------------------------------------------------------------------


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, folder):
        self._folder = folder

    def __reduce__(self):
        return Path.touch, (self._folder / "sprung",)


def test_pickles_are_not_read(trial, whole, tmp_path):
    """The trainer's pickled arguments are neither kept nor read."""
    call(trial, "sft", pause_at=3)
    folder = checkpoints.trainer_folder(trial.job.target) / "checkpoint-3"
    assert not (folder / "training_args.bin").exists()
    (folder / "training_args.bin").write_bytes(pickle.dumps(Trap(tmp_path)))
    check_same(call(trial, "sft"), whole("sft"))
    assert not (tmp_path / "sprung").exists()


def test_states_with_pickled_code_are_refused(trial, tmp_path):
    call(trial, "sft", pause_at=3)
    for file in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "order_0.pth"):
        path = checkpoints.trainer_folder(trial.job.target) / "checkpoint-3"
        before = (path / file).read_bytes()
        torch.save(Trap(tmp_path), path / file)
        marker = json.loads((path / "complete.json").read_text(encoding="utf-8"))
        marker["files"][file] = (path / file).stat().st_size
        (path / "complete.json").write_text(json.dumps(marker), encoding="utf-8")
        with pytest.raises(pickle.UnpicklingError):
            call(trial, "sft")
        assert not (tmp_path / "sprung").exists()
        marker["files"][file] = len(before)
        (path / file).write_bytes(before)
        (path / "complete.json").write_text(json.dumps(marker), encoding="utf-8")


def make(folder, step, key="k", **files):
    path = folder / f"checkpoint-{step}"
    (path / "global").mkdir(parents=True)
    for name, text in {"weights": "w", "global/rank0": "r", "training_args.bin": "x", **files}.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def test_the_latest_complete_checkpoint_is_used(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    assert not checkpoints.has_checkpoints(tmp_path)
    checkpoints.mark_complete(make(tmp_path, 9), 9, "k")
    checkpoints.mark_complete(make(tmp_path, 10), 10, "k")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]
    assert not (tmp_path / "checkpoint-10" / "training_args.bin").exists()
    make(tmp_path, 11)
    assert checkpoints.latest(tmp_path) == checkpoints.Checkpoint(tmp_path / "checkpoint-10", 10, "k")
    checkpoints.keep_only(tmp_path, tmp_path / "checkpoint-10")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "complete.json").unlink(),
        lambda path: (path / "complete.json").write_text('{"step": 3', encoding="utf-8"),
        lambda path: (path / "complete.json").write_text("[]", encoding="utf-8"),
        lambda path: (path / "complete.json").write_bytes(b"\xff\x00"),
        lambda path: (path / "weights").write_text("", encoding="utf-8"),
        lambda path: (path / "global" / "rank0").unlink(),
    ],
)
def test_incomplete_checkpoints_are_ignored(tmp_path, damage):
    checkpoints.mark_complete(make(tmp_path, 3), 3, "k")
    assert checkpoints.latest(tmp_path) is not None
    damage(tmp_path / "checkpoint-3")
    assert checkpoints.latest(tmp_path) is None
    assert checkpoints.has_checkpoints(tmp_path)


def test_remove(tmp_path):
    target = tmp_path / "m2" / "model"
    make(checkpoints.trainer_folder(target), 3)
    target.mkdir()
    checkpoints.remove(target)
    assert [path.name for path in target.parent.iterdir()] == ["model"]
    checkpoints.remove(target)


def test_the_module_does_not_import_torch():
    code = "import sys, srlm.training.checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
