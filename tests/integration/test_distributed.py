"""DPO on two processes with DDP, FSDP 1, FSDP 2 and ZeRO-3, compared with the same training in one process.

Everything uses the program's own launcher, job and trainer, on CPUs. Each kind is launched once and runs its trainings
one after the other. Two processes with half the micro-batch size see the same pairs in the same steps as one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from srlm import config as configuration
from srlm.errors import StageError
from srlm.models import chat
from srlm.rows.records import Pair, write_rows
from srlm.workers.jobs import Train
from srlm.workers.launcher import Launcher
from transformers import AutoModelForCausalLM

from tests.conftest import ROOT
from tests.integration.distributed_dpo import BFLOAT16, in_one_launch, watch
from tests.scripted import Recorder
from tests.training.trials import sentence

if TYPE_CHECKING:
    from collections.abc import Collection

pytestmark = pytest.mark.slow

DEEPSPEED = ROOT / ".cache" / "deepspeed"
PAIRS, STEPS = 16, 8
LORA = {"rank": 4, "alpha": 8, "target_modules": "all-linear"}
# The trainings, each of 8 steps. In one process the micro-batch is twice as large.
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"epochs": 2},
    "lora": {"epochs": 2, "lora": LORA},
    "checkpointed": {"epochs": 4, "batch_size": 8, "gradient_checkpointing": True},
    "untied": {"epochs": 2},
    # Several forward passes a step, and not as many in each process.
    "passes": {"epochs": 4, "batch_size": 8, "micro_batch_tokens": 60},
}
# accelerate's defaults, with which weights would be saved as shards, and only rank 0 would load any.
FSDP = {"fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "fsdp_state_dict_type": "SHARDED_STATE_DICT"}
FSDP_1 = {
    **FSDP,
    "fsdp_version": 1,
    "fsdp_reshard_after_forward": "FULL_SHARD",
    "fsdp_sync_module_states": False,  # works on GPUs only, and the next option needs it
    "fsdp_cpu_ram_efficient_loading": False,
    "fsdp_use_orig_params": True,
}
FSDP_2 = {
    **FSDP,
    "fsdp_version": 2,
    "fsdp_reshard_after_forward": True,
    "fsdp_cpu_ram_efficient_loading": True,
}
# All parameters are sharded and none stay gathered, although the model is small. By default, shards would be saved.
ZERO_3 = {
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "train_batch_size": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
    "zero_optimization": {
        "stage": 3,
        "stage3_param_persistence_threshold": 0,
        "stage3_max_live_parameters": 0,
        "stage3_max_reuse_distance": 0,
        "stage3_prefetch_bucket_size": 0,
    },
}
MACHINE = {
    "compute_environment": "LOCAL_MACHINE",
    "num_machines": 1,
    "num_processes": 2,
    "machine_rank": 0,
    "main_process_port": 0,
}


class Bench:
    """A folder with models and pairs, and the trainings in it."""

    def __init__(self, folder: Path, tiny_model: str) -> None:
        self.folder, self.tied, self.untied = folder, tiny_model, str(folder / "untied")
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        model.config.tie_word_embeddings = False
        torch.manual_seed(5)
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.02)
        model.save_pretrained(self.untied)
        for file in Path(tiny_model).glob("tokenizer*"):
            shutil.copy(file, self.untied)
        shutil.copy(Path(tiny_model) / "chat_template.jinja", self.untied)
        self.pairs = folder / "pairs.jsonl"
        write_rows(self.pairs, [pair(number) for number in range(PAIRS)])
        self.one = {name: self.train_in_one(name) for name in SETTINGS}

    def training(self, way: str, name: str, processes: int) -> Train:
        """Return the training `SETTINGS[name]` as the loop builds it; all of one kind share a reference file."""
        dpo = {
            "learning_rate": 1e-3,
            "min_learning_rate": 1e-4,
            "warmup_ratio": 0.2,
            "beta": 0.5,
            "dropout": 0.0,
            "batch_size": 4,
            "micro_batch_size": 4 // processes,
            **SETTINGS[name],
        }
        base = self.untied if name == "untied" else self.tied
        config = configuration.build(
            {"model": {"name": base}, "dpo": dpo, "seed": 3, "launch": {"processes": processes}}
        )
        stage = self.folder / way / Path(base).name
        return Train(name, "dpo", config, base, stage / name, stage / "metrics.jsonl", (self.pairs,), {"model": "m2"})

    def train_in_one(self, name: str) -> dict[str, Any]:
        training = self.training("one", name, 1)
        return {**watch(training, Recorder()), "training": training}

    def launch(self, way: str, file: Path | None = None, names: Collection[str] = SETTINGS) -> dict[str, Any]:
        """Run trainings on two processes with the program's launcher, and return the facts of each."""
        jobs = [self.training(way, name, 2) for name in names]
        work = in_one_launch(jobs)
        launch = work.config.launch.model_copy(update={"accelerate_config": str(file) if file else None})
        log, results, report = self.folder / way / "workers.log", {}, Recorder()
        try:
            launcher = Launcher(log, report, work.config.model_copy(update={"launch": launch}), kinds=())
            launcher.run(work, results.__setitem__)
        except StageError as error:
            pytest.fail(f"{error}\n{log.read_text(encoding='utf-8')[-6000:]}")
        # The other trainings of the same model reuse the first one's reference.
        tied = [job.name for job in jobs if job.base == self.tied]
        assert len({results[name]["reference_written"] for name in tied}) == 1
        assert sum("reusing the reference log-probabilities in" in note for note in report.notes) == len(tied) - 1
        return {job.name: {**results[job.name], "training": job} for job in jobs}


def pair(number: int) -> Pair:
    chosen, rejected = sentence(number + 1, 4 + number % 9), sentence(number + 2, 13 - number % 8)
    return Pair(
        f"p{number}",
        chat.user(f"Task {number}: {sentence(number, 3 + number % 6)}"),
        chat.assistant(chosen),
        chat.assistant(rejected),
        f"c{number}",
        f"r{number}",
        5.0,
        1.0,
    )


@pytest.fixture(scope="module")
def bench(tiny_model: str, tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
        yield Bench(tmp_path_factory.mktemp("distributed"), tiny_model)


def curve(found: dict[str, Any], metric: str) -> list[float]:
    return [entry[metric] for entry in found["history"] if metric in entry]


def weights(found: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Load the saved weights, as the next stage does."""
    model, info = AutoModelForCausalLM.from_pretrained(
        found["training"].target, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    assert tied == (not found["training"].base.endswith("untied"))
    return {name: value.detach() for name, value in model.named_parameters()}


def reference(found: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(found["training"].metrics.with_name("reference.safetensors"))


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def worst(one: list[float], other: list[float]) -> float:
    assert len(one) == len(other) == STEPS
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def check(bench: Bench, name: str, found: dict[str, Any], *, sharded: bool, **facts: Any) -> None:
    """Compare a training on two processes with the same one in one process."""
    one = bench.one[name]
    assert found["error"] is None
    assert found["is_fused"]
    assert {key: found[key] for key in facts} == facts
    assert (found["processes"], found["rows"], found["steps"]) == (2, PAIRS, STEPS)
    share = found["local_values"] / one["local_values"]
    assert share == pytest.approx(0.5 if sharded else 1.0, abs=0.05)
    differences = {"loss": worst(curve(one, "loss"), curve(found, "loss"))}
    for metric in ("rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected"):
        differences[metric] = worst(curve(one, metric), curve(found, metric))
    differences["weights"] = farthest(weights(one), weights(found))
    differences["reference"] = farthest(reference(one), reference(found))
    print(found["training"].target, differences)
    assert differences.pop("loss") < 1e-5
    assert differences.pop("weights") < 1e-5
    assert max(differences.values()) < 1e-3
    assert max(curve(one, "loss")) - min(curve(one, "loss")) > 0.05  # the training changed the loss


def write_config(folder: Path, **values: Any) -> Path:
    file = folder / "accelerate.yaml"
    file.write_text(yaml.safe_dump({**MACHINE, **values}), encoding="utf-8")
    return file


def test_the_jobs_of_the_loop(bench: Bench) -> None:
    """The unmodified job of the loop."""
    work = bench.training("job", "plain", 2)
    results, report = {}, Recorder()
    Launcher(bench.folder / "job" / "workers.log", report, work.config, kinds=()).run(work, results.__setitem__)
    assert results["plain"]["steps"] == STEPS
    assert report.starts == [("reference", 1, 0), ("dpo", STEPS, 0)]
    assert report.advanced == 1 + STEPS
    lines = work.metrics.read_text(encoding="utf-8").splitlines()
    one = curve(bench.one["plain"], "loss")
    assert worst(one, [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]) < 1e-5
    assert farthest(weights(bench.one["plain"]), weights({"training": work})) < 1e-5
    assert sorted(file.name for file in work.target.parent.iterdir()) == [
        "metrics.jsonl",
        "plain",
        "reference.safetensors",
    ]


def test_ddp(bench: Bench) -> None:
    found = bench.launch("ddp")
    for name in SETTINGS:
        check(bench, name, found[name], sharded=False, kind="MULTI_CPU", wrapper="DistributedDataParallel")


@pytest.mark.parametrize(("fsdp", "wrapper"), [(FSDP_1, "FullyShardedDataParallel"), (FSDP_2, "FSDPLlamaForCausalLM")])
def test_fsdp(bench: Bench, tmp_path: Path, fsdp: dict[str, Any], wrapper: str) -> None:
    version = fsdp["fsdp_version"]
    file = write_config(tmp_path, distributed_type="FSDP", use_cpu=True, mixed_precision="no", fsdp_config=fsdp)
    found = bench.launch(f"fsdp{version}", file)
    for name in SETTINGS:
        check(bench, name, found[name], sharded=True, kind="FSDP", fsdp_version=version)
    assert found["plain"]["wrapper"] == wrapper


@pytest.mark.parametrize("fsdp", [FSDP_1, FSDP_2], ids=["1", "2"])
def test_fsdp_in_bfloat16_returns_log_probabilities_in_float32(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsdp: dict[str, Any]
) -> None:
    monkeypatch.setenv(BFLOAT16, "1")
    file = write_config(tmp_path, distributed_type="FSDP", use_cpu=True, mixed_precision="bf16", fsdp_config=fsdp)
    found = bench.launch(f"bf16_{fsdp['fsdp_version']}", file, names=["plain"])["plain"]
    assert found["error"] is None
    logps, expected = reference(found), reference(bench.one["plain"])
    assert farthest(expected, logps) < 0.5  # of -70 to -210, computed from rounded weights
    for values in logps.values():
        assert (values.bfloat16() != values).sum() > PAIRS / 2  # by chance, some are representable
    for metric in ("logps/chosen", "loss"):
        assert worst(curve(bench.one["plain"], metric), curve(found, metric)) < 0.5


def test_zero_3(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (DEEPSPEED / "deepspeed").is_dir():
        pytest.skip("DeepSpeed is not in .cache/deepspeed; `make .venv/deepspeed` installs it")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for program in ("g++", "ninja"):  # DeepSpeed compiles its communication extension for CPUs
        if shutil.which(program, path=path) is None:
            pytest.skip(f"DeepSpeed on a CPU needs {program}")
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(DEEPSPEED)]))
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(ROOT / ".cache" / "torch_extensions"))
    zero = tmp_path / "zero.json"
    zero.write_text(json.dumps(ZERO_3), encoding="utf-8")
    own = {"deepspeed_config_file": str(zero), "zero3_init_flag": False}
    file = write_config(tmp_path, distributed_type="DEEPSPEED", use_cpu=False, deepspeed_config=own)
    found = bench.launch("zero3", file)
    for name in SETTINGS:
        check(bench, name, found[name], sharded=True, kind="DEEPSPEED", wrapper="DeepSpeedEngine", zero_stage=3)
