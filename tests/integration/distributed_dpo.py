"""The job that the processes of `test_distributed.py` run: the program's own job, with its trainer recorded."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from srlm.errors import StageError
from srlm.workers.jobs import Finish, Train

from tests.conftest import HANG_SECONDS

if TYPE_CHECKING:
    from srlm.reporter import Reporter


BFLOAT16 = "SRLM_TEST_BFLOAT16"  # environment variable: train as on a GPU that has bfloat16


@dataclass(frozen=True, slots=True)
class Trainings(Train):
    """Several trainings, one after the other in the same processes, so that packages are imported once per launch."""

    trainings: tuple[Train, ...] = ()

    def run(self, report: Reporter, finish: Finish) -> None:
        """Run the trainings; the result of each is what `watch` returns."""
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        if os.environ.get("ACCELERATE_USE_FSDP") == "true":
            let_fsdp_run_on_a_cpu()
        if os.environ.get(BFLOAT16):
            train_in_bfloat16()
        for training in self.trainings:
            finish(training.name, watch(training, report))


def in_one_launch(trainings: list[Train]) -> Trainings:
    """Return a job that runs these trainings; to the launcher it looks like the first one."""
    own = {field.name: getattr(trainings[0], field.name) for field in fields(Train)}
    return Trainings(**own, trainings=tuple(trainings))


def watch(training: Train, report: Reporter) -> dict[str, Any]:
    """Train, and return facts about the trainer with its log, and the error if it failed."""
    from srlm.training import dpo
    from srlm.training.dpo_trainer import PreferenceTrainer
    from transformers.integrations import unset_hf_deepspeed_config

    made: list[Any] = []

    class Watched(PreferenceTrainer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            made.append(self)

    facts: dict[str, Any] = {"error": None}
    dpo.PreferenceTrainer = Watched
    try:
        training.run(report, lambda _, result: facts.update(result))
    except StageError as error:  # raised on rank 0 only, after the last collective
        facts["error"] = str(error)
    finally:
        dpo.PreferenceTrainer = PreferenceTrainer
    facts |= facts_of(made.pop())
    reference = training.metrics.with_name("reference.safetensors")
    facts["reference_written"] = reference.stat().st_mtime_ns if reference.exists() else None
    # The next model is loaded whole, like the first one: transformers would otherwise use DeepSpeed's configuration.
    unset_hf_deepspeed_config()
    return facts


def facts_of(trainer: Any) -> dict[str, Any]:
    """Return facts that distinguish the kinds of distributed training."""
    state = trainer.accelerator.state
    return {
        "is_fused": trainer.is_fused,
        "kind": state.distributed_type.value,
        "fsdp_version": getattr(getattr(state, "fsdp_plugin", None), "fsdp_version", None),
        "zero_stage": getattr(getattr(state, "deepspeed_plugin", None), "zero_stage", None),
        "processes": trainer.accelerator.num_processes,
        "wrapper": type(trainer.model_wrapped).__name__,
        "local_values": sum(local_values(parameter) for parameter in trainer.model.parameters()),
        "history": json.loads(json.dumps(trainer.state.log_history)),
    }


def local_values(parameter: Any) -> int:
    """Return the number of a parameter's values in this process."""
    if hasattr(parameter, "ds_tensor"):
        return int(parameter.ds_tensor.numel())
    local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    return int(local.numel())


def train_in_bfloat16() -> None:
    """Train in bfloat16, which is chosen on GPUs only."""
    from srlm.training import train

    original = train.arguments
    train.arguments = lambda *args, **options: {**original(*args, **options), "bf16": True}


def let_fsdp_run_on_a_cpu() -> None:
    """Remove obstacles to FSDP on a CPU in accelerate 1.15; there are none on a GPU, where users shard.

    Its state enables FSDP for several GPU processes, never for several CPU processes. FSDP 1 takes `cpu:0` and `cpu`
    for different devices. And a full state dictionary is copied to the CPU and the original freed, which on a CPU is
    the same object.
    """
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType
    from torch.distributed.fsdp._flat_param import FlatParamHandle

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    original = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        original(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init
    FlatParamHandle.to_cpu = lambda _: contextlib.nullcontext()
