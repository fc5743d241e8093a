"""The configuration: one strict model per stage, read from YAML and `key=value` words.

An unknown key, a wrong type or a value out of range is an error that names the key's full path, the file, and the
nearest valid key. The description of each field is what `docs/configuration.md` and `srlm config --describe` show.
A section is always read through a variable of its own name (`judge.samples`), which is how a test finds fields that
no code reads.
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
)
from srlm.config.evaluation import Action, EndpointSection, EvaluateSection, GatesSection, HeadToHeadSection
from srlm.config.loading import build, changes, describe, load, packaged_names, to_yaml
from srlm.config.schema import Config
from srlm.config.section import Section
from srlm.config.training import (
    FUSED_LOSSES,
    SMOOTHED_LOSSES,
    DpoSection,
    LaunchSection,
    LoraSection,
    LossType,
    SftSection,
    TrainingSection,
)

__all__ = [
    "FUSED_LOSSES",
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
    "TrainingSection",
    "build",
    "changes",
    "describe",
    "load",
    "packaged_names",
    "to_yaml",
]
