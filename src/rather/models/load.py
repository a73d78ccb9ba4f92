"""Any Hugging Face causal LM in, the same out. safetensors only, nothing of the model left to chance.

    policy = load_policy("run/sft/checkpoint")
    save_policy(policy, "run/ppo/checkpoint")

transformers loads what it finds and draws at random what it does not find. Here a weight that is missing, left over, of
another shape or not a number stops the work: each is a wrong number that looks like a number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rather import files
from rather.errors import BadModel, nearest
from rather.models import lora
from rather.models.dropout import set_dropout
from rather.models.tokenizers import Vocabulary, first_line, fit, load_tokenizer, quiet, save_tokenizer

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")  # what is fetched from the hub


@dataclass(frozen=True)
class Policy:
    """A causal LM with its tokenizer.

    stops: ids at which a sampler stops, EOS first
    notes: what was decided while loading, one sentence each
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    stops: tuple[int, ...]
    notes: tuple[str, ...] = ()


def load_policy(
    name: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    eos_token: str | None = None,
    template: str | None = None,
    trust_remote_code: bool = False,
) -> Policy:
    """A folder or hub id as a policy: fp32 master weights, in eval mode, every dropout 0.

    eos_token, template: see `load_tokenizer`
    """
    folder = folder_of(name, trust_remote_code)
    config = read_config(folder, trust_remote_code)
    _check_causal(folder, config, trust_remote_code)
    check_weights(folder)
    vocabulary = load_tokenizer(folder, eos_token=eos_token, template=template, trust_remote_code=trust_remote_code)
    model = load_weights(AutoModelForCausalLM, folder, config, dtype, trust_remote_code)
    return ready_policy(model, vocabulary, str(folder))


def ready_policy(model: PreTrainedModel, vocabulary: Vocabulary, name: str) -> Policy:
    """Bring a model and its vocabulary together: ids, a row for the pad, no dropout, eval mode."""
    try:
        fitted = fit(model, vocabulary)
    except BadModel as error:
        raise BadModel(f"{name}: {error.found}", error.expected, error.do) from None
    notes = [*vocabulary.notes, *fitted]
    if model.generation_config is not None:
        notes += _mend_generation(model)
    set_dropout(model, 0.0)
    return Policy(model.eval(), vocabulary.tokenizer, vocabulary.stops, tuple(notes))


def save_policy(policy: Policy, folder: str | Path) -> Path:
    """An ordinary Hugging Face folder, whole or not at all. What was there before is replaced.

    With LoRA it holds the merged model, and in `adapter` what was trained.
    """
    with files.replacing_folder(folder) as unfinished, quiet():
        adapted = lora.adapted(policy.model)
        (lora.merged(policy.model) if adapted else policy.model).save_pretrained(unfinished)
        save_tokenizer(policy.tokenizer, unfinished, folder)
        if adapted:
            lora.save_adapter(policy.model, unfinished / lora.FOLDER)
    return Path(folder)


def stopping_at(policy: Policy, token: int) -> Policy:
    """The same policy, at the end of a turn too: a chat template may end it with another token than EOS.

    What is saved says so in its generation config, so that plain `generate` stops there as well.
    """
    stops = tuple(dict.fromkeys([token, *policy.stops]))
    if policy.model.generation_config is not None:
        policy.model.generation_config.eos_token_id = list(stops) if len(stops) > 1 else token
    return replace(policy, stops=stops)


def window_of(config: PretrainedConfig) -> int | None:
    """How many tokens a model was made for, prompt and response together; None where its configuration is silent."""
    window: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return window


def folder_of(name: str | Path, trust_remote_code: bool = False) -> Path:
    """The local folder of a folder or of a hub id, which is fetched into the hub's own cache if it is not there."""
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise BadModel(
            f"{name} is a file.", "Expected the folder of a model, with config.json.", f"Try {path.parent or '.'}"
        )
    if isinstance(name, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise BadModel(f"There is no folder {name}.", "Expected the folder of a model, with config.json, or a hub id.")
    try:
        with quiet():
            wanted = [*WANTED, "*.py"] if trust_remote_code else list(WANTED)
            # Subfolders and `consolidated` hold the same weights once more, in the layout of other programs.
            return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=["*/*", "consolidated*"]))
    except HFValidationError as error:
        raise BadModel(
            f"{name!r} is neither a folder nor a hub id: {first_line(error)}", "Expected a folder, or owner/name."
        ) from error
    except LocalEntryNotFoundError as error:
        raise BadModel(
            f"There is no folder {name!r}, and the hub cannot be reached for a model of that name.",
            "Expected a folder, or a model that was fetched before, or a network.",
            f"Where there is a network:  hf download {name}",
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise BadModel(
            f"There is no folder {name!r}, and the hub says: {first_line(error)}", "Expected a folder or a hub id."
        ) from error


def read_config(folder: Path, trust_remote_code: bool = False) -> PretrainedConfig:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        above = folder.resolve().parent
        raise BadModel(
            f"{folder} holds an adapter, not a model.",
            "Expected the weights of a whole model.",
            f"The merged model is {above}"
            if (above / "config.json").is_file()
            else "Merge it into its base with merge_and_unload() of peft, and save that",
        )
    raw = read_json(folder / "config.json", f"{folder} has no config.json, so it is not the folder of a model.")
    if "auto_map" in raw and not trust_remote_code:
        raise BadModel(
            f"{folder} brings its own code ({', '.join(map(str, raw['auto_map']))}), which was not run.",
            "Expected a model that transformers knows. Code of a model can do whatever you can do.",
            "If you have read it and trust it:  trust_remote_code=true",
        )
    if "quantization_config" in raw:
        raise BadModel(
            f"{folder} holds quantised weights.",
            "Training needs the weights that they were made from.",
            "Name the folder or hub id of the original model",
        )
    kind = raw.get("model_type")
    if not isinstance(kind, str) or (kind not in CONFIG_MAPPING_NAMES and "auto_map" not in raw):
        guess = nearest(kind, CONFIG_MAPPING_NAMES) if isinstance(kind, str) else ""
        raise BadModel(
            f"{folder}/config.json has model_type {kind!r:.60}, which transformers does not know.{guess}",
            "Expected a model type such as 'llama' or 'gpt2'.",
            "A newer transformers may know it:  pip install -U transformers",
        )
    try:
        with quiet():
            config: PretrainedConfig = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
    except Exception as error:  # a configuration is foreign: whatever its class raises is said about it
        raise BadModel(
            f"{folder}/config.json is no {kind} configuration: {first_line(error)}", "Expected the model's own file."
        ) from error
    return config


def read_json(path: Path, missing: str) -> dict[str, Any]:
    if not path.is_file():  # a device or a pipe, to which a link may point, would never end
        raise BadModel(missing, "Expected config.json, model.safetensors and the tokenizer's files.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BadModel(
            f"{path} is not JSON: {first_line(error)}", "Expected one JSON object.", "Copy the file again"
        ) from error
    if not isinstance(raw, dict):
        raise BadModel(f"{path} holds a {type(raw).__name__}.", "Expected one JSON object.", "Copy the file again")
    return raw


def _check_causal(folder: Path, config: PretrainedConfig, trust_remote_code: bool) -> None:
    if trust_remote_code and hasattr(config, "auto_map"):
        return
    expected = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    named: Any = config.architectures or []
    found = [name for name in (named if isinstance(named, list) else [named]) if name != expected]
    if expected is None or found:
        what = f"is a {found[0]}" if found else f"is a {config.model_type} model"
        reward = "Classification" in str(found)
        raise BadModel(
            f"{folder} {what}, not a causal language model.",
            f"Expected {expected}." if expected else "Expected a model that writes text from left to right.",
            "A reward model is named where a reward model is asked for" if reward else "",
        )


def check_weights(folder: Path) -> list[Path]:
    """The safetensors files of a folder, each whole."""
    if (folder / INDEX).is_file():
        index = read_json(folder / INDEX, "").get("weight_map")
        if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
            raise BadModel(f"{folder / INDEX} has no weight_map.", "Expected tensor names and their files.")
        named = {file: [tensor for tensor, where in index.items() if where == file] for file in index.values()}
    elif (folder / WEIGHTS).is_file():
        named = {WEIGHTS: []}
    else:
        raise _no_weights(folder)
    for name, tensors in named.items():
        _check_file(folder / name, tensors, len(named))
    return [folder / name for name in named]


def _no_weights(folder: Path) -> BadModel:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        return BadModel(
            f"{folder} has its weights only as a pickle ({', '.join(pickles[:3])}), which runs code when it is read.",
            f"Expected {WEIGHTS}.",
            "Convert it where you trust it, with save_pretrained of transformers, or take the safetensors from the hub",
        )
    return BadModel(f"{folder} has no weights.", f"Expected {WEIGHTS} or {INDEX} with its parts.")


def _check_file(path: Path, tensors: Iterable[str], parts: int) -> None:
    if not path.is_file():
        raise BadModel(f"{path.parent} lacks {path.name}, one of its {parts} parts.", do="Copy the folder again, whole")
    try:
        with safe_open(path, framework="pt") as file:
            lost = set(tensors) - set(file.keys())
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise BadModel(
            f"{path} is damaged ({path.stat().st_size:,} bytes): {first_line(error)}",
            "Expected a whole safetensors file.",
            "Copy or download it again",
        ) from error
    if whole := [name for name, kind in kinds.items() if name.endswith("weight") and kind[0] in "IU"]:
        raise BadModel(
            f"{path} holds whole numbers as weights: {_some(whole)}.",
            "Expected fp32, bf16 or fp16; these may be quantised, and their scales are not here.",
            "Name the folder or hub id of the original model",
        )
    if lost:
        raise BadModel(f"{path} lacks {_some(lost)}, which the index promises.", do="Copy the folder again, whole")


def _count_tensors(folder: Path) -> int:
    count = 0
    for path in check_weights(folder):
        with safe_open(path, framework="pt") as file:
            count += len(file.keys())
    return count


def load_weights(
    auto: Any, folder: Path, config: PretrainedConfig, dtype: torch.dtype, trust_remote_code: bool = False
) -> Any:
    """`auto.from_pretrained`, which has to find every weight, no other, and only numbers."""
    layers, tensors = getattr(config.get_text_config(), "num_hidden_layers", 0), _count_tensors(folder)
    if isinstance(layers, int) and layers > tensors:  # building a million layers only to miss them takes for ever
        raise BadModel(
            f"{folder}: config.json says {layers:,} layers, and there are {tensors:,} tensors.",
            "Expected weights and config.json of one model.",
        )
    try:
        with quiet():
            model, report = auto.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                ignore_mismatched_sizes=True,  # so that they are reported with their names
                output_loading_info=True,
            )
    except Exception as error:  # configuration and weights are foreign: whatever building from them raises is said
        raise BadModel(
            f"{folder} cannot be loaded: {first_line(error)}", "Expected a model that transformers can load."
        ) from error
    if shapes := report["mismatched_keys"]:
        name, stored, wanted = sorted(shapes, key=str)[0]
        more = f" and {len(shapes) - 1} more" if len(shapes) > 1 else ""
        raise BadModel(
            f"{folder}: {name} is stored as {tuple(stored)}, config.json says {tuple(wanted)}{more}.",
            "Expected weights and config.json of one model.",
        )
    for keys, found in ((report["missing_keys"], "lacks"), (report["unexpected_keys"], "has, and no model would use,")):
        if keys:
            raise BadModel(
                f"{folder} {found} {_some(keys)}.",
                f"Expected the weights of {type(model).__name__}, all of them and no others.",
                "Copy the folder again, or correct config.json",
            )
    if wrong := [name for name, tensor in model.named_parameters() if not bool(tensor.isfinite().all())]:
        raise BadModel(f"{folder}: {_some(wrong)} holds values that are not numbers.", "Expected finite weights.")
    return model


def _mend_generation(model: PreTrainedModel) -> list[str]:
    """transformers reads a generation config with sampling values and sampling off, and refuses to save it."""
    generation: Any = model.generation_config
    try:
        generation.validate(strict=True)
    except ValueError:
        generation.do_sample = True
        try:
            generation.validate(strict=True)
        except ValueError as error:
            raise BadModel(
                f"generation_config.json cannot be saved again: {first_line(error)}", do="Correct or remove it"
            ) from error
        return ["generation_config.json sets how to sample and not that it samples: do_sample is now true."]
    return []


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
