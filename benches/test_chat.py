"""Chat encoding: texts to packed ids, conversations to ids, and the preparation of preference pairs.

Every tokenizer is created anew for each round, so times include the costs of the first call, but not loading.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pytest
from datasets import Dataset
from fastokens._native import Tokenizer as FastTokenizer
from srlm.models import chat
from srlm.native import ChatEncoder
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

from benches.conftest import DATA

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.conftest import Comparison

MODEL = Path(os.environ.get("SRLM_CACHE", "")) / "models" / "smollm2-135m-instruct"
pytestmark = pytest.mark.skipif(
    not (DATA.is_dir() and MODEL.is_dir()), reason="needs the real data next to the checkout and the packaged model"
)
ROWS = 100_000
ROUNDS = 3


def pairs() -> list[dict[str, list[dict[str, str]]]]:
    """Real instructions with two answers each."""
    rows = [row for file in sorted((DATA / "llmbar").glob("*.json")) for row in json.loads(file.read_text("utf-8"))]
    found = [(row["input"], row["output_1"], row["output_2"]) for row in rows]
    rows = json.loads((DATA / "pandalm" / "testset-v1.json").read_text("utf-8"))
    found += [(f"{row['instruction']}\n{row['input']}".strip(), row["response1"], row["response2"]) for row in rows]
    return [
        {"prompt": chat.user(prompt), "chosen": chat.assistant(one), "rejected": chat.assistant(other)}
        for prompt, one, other in found
        if isinstance(one, str) and isinstance(other, str)  # a few answers are not strings
    ]


def texts() -> list[str]:
    """The distinct texts of these pairs and of judges' replies."""
    contents = [message["content"] for row in pairs() for side in row.values() for message in side]
    judgments = (DATA / "judge-text" / "mt_bench_gpt4_single.jsonl").read_text("utf-8").strip().split("\n")
    return list(dict.fromkeys([*contents, *(json.loads(line)["judgment"] for line in judgments)]))


def fresh(make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that returns an unused instance on each call."""
    unused = [make() for _ in range(2 * ROUNDS + 3)]
    return unused.pop


def loaded(tokenizer_json: str) -> ChatEncoder:
    """Return an encoder with its fast lane, which is opened at the first large batch otherwise."""
    encoder = ChatEncoder(tokenizer_json)
    assert encoder.lane_refusal is None
    return encoder


def packed(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.concatenate([np.asarray(row, dtype=np.int32) for row in rows]), offsets


@pytest.mark.parametrize("rows", [None, ROWS], ids=["each text once", "100,000 rows"])
def test_texts_to_packed_ids(compare: Comparison, rows: int | None) -> None:
    once = texts()
    batch = once if rows is None else (once * (rows // len(once) + 1))[:rows]
    tokenizer_json = (MODEL / "tokenizer.json").read_text("utf-8")
    ours = fresh(lambda: loaded(tokenizer_json))
    flat = fresh(lambda: FastTokenizer.from_json_str(tokenizer_json))
    lists = fresh(lambda: FastTokenizer.from_json_str(tokenizer_json))
    hugging_face = fresh(lambda: Tokenizer.from_str(tokenizer_json))
    sample = batch[: len(once)]  # the part of the batch for the slow baseline

    def by_tokenizers(some: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return packed([row.ids for row in hugging_face().encode_batch_fast(some, add_special_tokens=False)])

    def by_fastokens() -> tuple[np.ndarray, np.ndarray]:
        ids, offsets = flat().encode_batch_flat(batch, False)
        return np.frombuffer(ids, np.uint32).astype(np.int32), np.frombuffer(offsets, np.uint64).astype(np.int64)

    expected, found = by_tokenizers(sample), ours().encode_texts(batch)
    assert all(np.array_equal(*arrays) for arrays in zip(expected, ours().encode_texts(sample), strict=True))
    assert all(np.array_equal(*arrays) for arrays in zip(by_fastokens(), found, strict=True))
    size = sum(len(text.encode()) for text in batch) / 1e6
    share = size / (sum(len(text.encode()) for text in sample) / 1e6)
    ratios = compare(
        f"{len(batch):,} texts ({size:.1f} MB) to ids and offsets",
        lambda: ours().encode_texts(batch),
        {
            "tokenizers encode_batch_fast + numpy": lambda: by_tokenizers(sample),
            "fastokens encode_batch_flat": by_fastokens,
            "fastokens encode_batch + numpy": lambda: packed([row.ids for row in lists().encode_batch(batch)]),
        },
        work=size,
        unit="MB",
        checked="ids and offsets equal",
        rounds=ROUNDS,
        scale={"tokenizers encode_batch_fast + numpy": share},
    )
    if rows is not None:
        assert ratios["tokenizers encode_batch_fast + numpy"] >= 25
        assert ratios["fastokens encode_batch_flat"] >= 1


def test_preference_pairs(compare: Comparison) -> None:
    datasets.disable_progress_bars()
    datasets.disable_caching()
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    rows = pairs()
    encoder = chat.cached_encoder(tokenizer).encoder
    arguments = DPOConfig(output_dir="unused", max_length=None, report_to="none", use_cpu=True, bf16=False)
    trainer = SimpleNamespace(_tokenizer=tokenizer, args=arguments)
    names = ("prompt", "chosen", "rejected")
    columns = [[row[name] for row in rows] for name in names]

    def by_trl() -> Dataset:
        return DPOTrainer._prepare_dataset(trainer, Dataset.from_list(rows), tokenizer, arguments, "train")

    def by_srlm() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        return encoder.encode_pairs(*columns, keep_tail=True)

    prepared = by_trl()
    for name, found in zip(names, by_srlm(), strict=True):
        assert prepared[f"{name}_ids"][:] == chat.ragged_rows(*found)
    ratios = compare(
        f"{len(rows):,} preference pairs: templates, ids, offsets",
        by_srlm,
        {"TRL's DPO preparation": by_trl},
        work=len(rows),
        unit="pairs",
        checked="all ids equal",
        rounds=3,
    )
    assert ratios["TRL's DPO preparation"] >= 40


def test_prompts(compare: Comparison) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    prompts = [row["prompt"] for row in pairs()]
    encoder = chat.cached_encoder(tokenizer).encoder

    def by_transformers() -> list[list[int]]:
        return tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=True)["input_ids"]

    assert chat.ragged_rows(*encoder.encode_prompts(prompts)) == by_transformers()
    compare(
        f"{len(prompts):,} prompts: template and ids",
        lambda: encoder.encode_prompts(prompts),
        {"transformers apply_chat_template": by_transformers},
        work=len(prompts),
        unit="prompts",
        checked="all ids equal",
    )
