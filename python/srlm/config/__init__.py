"""The configuration: one strict model per stage, loaded from YAML and `key=value` overrides.

An unknown key, a wrong type or a value out of range is an error that names the key's full path, the file, and the
nearest valid key. `docs/configuration.md` and `srlm config --describe` show the description of each field. Code always
accesses a section through a variable of the section's name (`judge.samples`), so that a test can find unused fields.

This package must not depend on what its settings do.
"""

from __future__ import annotations

from srlm.config.data import (
    CandidatesSection,
    EftSection,
    EngineSection,
    JudgeSection,
    ModelSection,
    PairsSection,
    PromptsSection,
    SeedDataSection,
    SignalSection,
    SuppliersSection,
)
from srlm.config.evaluation import Action, EndpointSection, EvaluateSection, GatesSection, HeadToHeadSection
from srlm.config.judge_data import JudgeDataSection
from srlm.config.loading import build, changes, describe, load, packaged_names, to_yaml
from srlm.config.schema import Config
from srlm.config.section import Section
from srlm.config.training import (
    FUSED_LOSSES,
    MICRO_BATCH_LOSSES,
    OTHER_DROPOUT,
    OWN_LOSSES,
    SMOOTHED_LOSSES,
    DpoSection,
    LaunchSection,
    LoraSection,
    LossType,
    SftSection,
    TrainingSection,
    TrainSection,
)

__all__ = [
    "FUSED_LOSSES",
    "MICRO_BATCH_LOSSES",
    "OTHER_DROPOUT",
    "OWN_LOSSES",
    "SMOOTHED_LOSSES",
    "Action",
    "CandidatesSection",
    "Config",
    "DpoSection",
    "EftSection",
    "EndpointSection",
    "EngineSection",
    "EvaluateSection",
    "GatesSection",
    "HeadToHeadSection",
    "JudgeDataSection",
    "JudgeSection",
    "LaunchSection",
    "LoraSection",
    "LossType",
    "ModelSection",
    "PairsSection",
    "PromptsSection",
    "Section",
    "SeedDataSection",
    "SftSection",
    "SignalSection",
    "SuppliersSection",
    "TrainSection",
    "TrainingSection",
    "build",
    "changes",
    "describe",
    "load",
    "packaged_names",
    "to_yaml",
]
