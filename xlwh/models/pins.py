"""What a model is, exactly: content hashes of its files, and what is refused before anything is loaded.

Reads configuration and bytes only: torch and transformers are never imported here.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xlwh.digests import HashCache
from xlwh.errors import ModelError
from xlwh.jsons import parsed, read, read_object

NEVER_READ = (
    *("README*", "LICEN[CS]E*", "NOTICE*", "CITATION*", "CHANGELOG*", "*.md", "*.rst", "*.pdf", "*.html"),
    *("*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.webp", "*.ico"),
    # Weights: the safetensors files that are loaded have a hash of their own, other formats are never opened.
    *(
        "*.safetensors",
        "*.bin",
        "*.pt",
        "*.pth",
        "*.ckpt",
        "*.pkl",
        "*.h5",
        "*.msgpack",
        "*.ot",
        "*.onnx",
        "*.gguf",
    ),
    *("pytorch_model*.index.json", "tf_model*.index.json", "flax_model*.index.json"),
    # What this project and transformers' Trainer note beside a model.
    *("training.json", "trainer_state.json", "all_results.json", "train_results.json", "eval_results.json"),
    "events.out.tfevents*",
)
"""Files of a checkpoint that loading never opens. Hidden files are not opened either; every other one may be."""
MODEL_FILES = ("config.json", "generation_config.json", "*.index.json")
"""Files that the model is made by; whatever else loading may open belongs to the tokenizer."""
OBJECTS = ("config.json", "generation_config.json", "tokenizer_config.json")
"""Files of JSON objects, which transformers reads."""
TEMPLATES = "chat_templates"
"""The one folder inside a checkpoint that loading looks into."""
ADAPTERS = ("adapter_config.json", "adapter_model.*", "pytorch_adapter.*", "adapter_config.*")
"""Files of an adapter, which loading applies where the package `peft` is installed, and else leaves out."""
TASKS = {
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
    "ForConditionalGeneration": "translation",
    "ForQuestionAnsweringSimple": "question_answering",
}
"""End of an architecture's name -> task of its head."""
Kind = Literal["hub", "path", "finetuned", "scratch"]
"""Where a model comes from."""
TOKENIZATION = "2"
"""How texts become sub-tokens with their characters and words (xlwh.models.tokenize): raised when that changes."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
ATTENTION = frozenset({"eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"})
"""Attention implementations that are transformers' own; any other name is that of code on the hub."""
CODE = {
    "auto_map": "its own code",
    "custom_code": "its own code",
    "custom_pipelines": "its own code",
    "custom_generate": "its own code",
    "kernel_config": "kernels, which are code from the hub",
    "use_kernels": "kernels, which are code from the hub",
}
"""Keys of configuration files that name code, and what that is: it is never run."""
OTHER_WEIGHTS = {
    "quantization_config": "quantised weights, of which the loaded numbers depend on packages and device. Use the "
    "checkpoint that is not quantised",
    "compression_config": "compressed weights, of which the loaded numbers depend on packages. Use the checkpoint "
    "that is not compressed",
    "fusion_config": "fused layers, which change the numbers. Remove that entry",
    "transformers_weights": "weights in another file than the usual one. Rename that file to model.safetensors and "
    "remove the entry",
    "distributed_config": "weights in parts for several devices. Save the whole model with `save_pretrained`",
}
"""Keys of configuration files that make the loaded weights other ones than those of the safetensors files."""
_LAYERS = (
    *("num_hidden_layers", "n_layers", "n_layer", "num_layers", "num_decoder_layers"),
    *("encoder_layers", "decoder_layers"),
)
_MOST_LAYERS = 10_000
_WIDTHS = (
    *("vocab_size", "n_words", "hidden_size", "d_model", "emb_dim", "intermediate_size", "d_ff"),
    *("n_embd", "dim", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"),
)
"""Sizes in a configuration that are a dimension of some weight."""
_LARGEST = 2**40
"""A number in a configuration beyond this is no size of a model."""
SHARD = re.compile(r"(?P<stem>model)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")


@dataclass(frozen=True)
class Pin:
    """The identity of one model of the study. Equal hashes mean equal results."""

    key: str
    kind: Kind
    source: str
    revision: str | None
    model_type: str
    architecture: str | None
    """Class that the checkpoint was saved from, such as `BertForSequenceClassification`."""
    weight_hash: str
    """SHA-256 over the bytes of the safetensors files in order of their names (of one file: its own)."""
    tokenizer_hash: str
    """SHA-256 over the names and bytes of every file that a tokenizer may open (`tokenizer_files`)."""
    config_hash: str
    """SHA-256 over the names and bytes of the files that say how the model is made (MODEL_FILES)."""
    folder: Path
    adapter: Path | None = None
    """Folder of the adapter that is merged into it on load; the hashes and the architecture are those of both."""

    @property
    def identity(self) -> tuple[str, ...]:
        """What a fingerprint of anything computed with the model must include: its contents, and how it is given texts."""
        return self.weight_hash, *self.token_identity

    @property
    def token_identity(self) -> tuple[str, ...]:
        """What a fingerprint of its sub-tokens alone must include."""
        return self.tokenizer_hash, self.config_hash, f"tokenization {TOKENIZATION}"

    @property
    def task(self) -> str | None:
        """Task of its head, as in `models.task`; None without one (a bare encoder, a language model).

        Every text-to-text head is one of `translation`, the one such task here.
        """
        return task_of(self.architecture)

    @property
    def provenance(self) -> dict[str, str]:
        """What files computed with the model say of it in their metadata."""
        named = {
            "xlwh.model_source": self.source,
            "xlwh.model_revision": self.revision,
            "xlwh.weight_hash": self.weight_hash,
            "xlwh.tokenizer_hash": self.tokenizer_hash,
        }
        return {name: value for name, value in named.items() if value is not None}


def pin_folder(
    key: str,
    kind: Kind,
    source: str,
    revision: str | None,
    folder: Path,
    cache: HashCache,
) -> Pin:
    """Check the files of a checkpoint and take its hashes; ModelError where it may not be loaded."""
    config = require_loadable(key, folder)
    return Pin(
        key=key,
        kind=kind,
        source=source,
        revision=revision,
        model_type=str(config.get("model_type")),
        architecture=architecture_of(key, folder, config),
        weight_hash=cache.digest(weight_files(key, folder)),
        tokenizer_hash=cache.digest(tokenizer_files(folder), named=True),
        config_hash=cache.digest(_model_files(folder), named=True),
        folder=folder,
    )


def task_of(architecture: str | None) -> str | None:
    """Task of the head of an architecture; None without one."""
    return next((task for suffix, task in TASKS.items() if (architecture or "").endswith(suffix)), None)


def require_loadable(key: str, folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint; ModelError where it may not be loaded, as far as names and configuration tell."""
    config = _read_config(key, folder)
    _refuse_folders(key, folder)
    refuse_foreign(key, folder)
    if not tokenizer_files(folder):
        raise ModelError(f"Model `{key}`: {folder} holds no tokenizer files (tokenizer.json and the like).")
    architecture_of(key, folder, config)
    weight_files(key, folder)
    return config


def shapes(key: str, folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors, by the headers of its files alone.

    ModelError for a file that is no safetensors file, or is shorter or longer than its header says.
    """
    found: dict[str, tuple[int, ...]] = {}
    for file in weight_files(key, folder):
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            try:
                header = parsed(stream.read(length).decode()) if 2 <= length <= size - 8 else None
            except ValueError:
                header = None
        if not isinstance(header, dict):
            raise ModelError(
                f"Model `{key}`: {file} is no safetensors file, or a part of one. Fetch it again."
            )
        tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        try:
            found |= {name: tuple(map(int, each["shape"])) for name, each in tensors.items()}
            expected = (
                8 + length + max((int(each["data_offsets"][1]) for each in tensors.values()), default=0)
            )
        except (KeyError, IndexError, TypeError, ValueError, OverflowError):
            raise ModelError(f"Model `{key}`: the header of {file} is damaged. Fetch it again.") from None
        if expected != size:
            raise ModelError(
                f"Model `{key}`: {file} holds {size:,} bytes where its header says {expected:,}: a part of a download "
                "or copy. Fetch it again."
            )
    return found


def architecture_of(key: str, folder: Path, config: dict[str, Any]) -> str | None:
    """The class that a checkpoint's configuration names first; ModelError where it names none in a list."""
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ModelError(
            f"Model `{key}`: {folder / 'config.json'} has `architectures` = {named}: it is a list of the names of classes."
        )
    return named[0] if named else None


def tokenizer_files(folder: Path) -> list[Path]:
    """Every file that a tokenizer may open, in order of their names.

    Vocabularies, merges, codes, templates and tables have names that a class or tokenizer_config.json gives, so no list
    of names is complete: these are all files but those that make the model and those that nothing opens, with the files
    outside the rule that tokenizer_config.json names.
    """
    model = set(_model_files(folder))
    found = {file for file in _opened(folder) if file not in model}
    return sorted(
        found | _named_files(folder), key=lambda file: (file.parent != folder, file.name, str(file))
    )


def _model_files(folder: Path) -> list[Path]:
    return [file for file in _opened(folder) if _matches(file.name, MODEL_FILES)]


def _opened(folder: Path) -> list[Path]:
    """Files of a checkpoint, but for weights, that loading may open."""
    found = [*folder.iterdir(), *folder.glob(f"{TEMPLATES}/*")]
    return sorted(
        file
        for file in found
        if file.is_file() and not file.name.startswith(".") and not _matches(file.name, NEVER_READ)
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _named_files(folder: Path) -> set[Path]:
    """Files that tokenizer_config.json has under a key like `vocab_file`, wherever they are, as far as they exist."""
    config = folder / "tokenizer_config.json"
    if not config.is_file():
        return set()
    try:
        content = parsed(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()  # refused where it is read
    entries = content.items() if isinstance(content, dict) else ()
    named = [folder / value for key, value in entries if key.endswith("_file") and isinstance(value, str)]
    return {file for file in named if file.is_file()}


def weight_files(key: str, folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint in order of their names; ModelError where there are none."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        names = _named_shards(key, index)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise ModelError(
                f"Model `{key}`: {index} names weights that are missing: {', '.join(missing) or 'all'}."
            )
        return [folder / name for name in names]
    shards = lacking_weights(folder)
    if shards:
        raise ModelError(
            f"Model `{key}`: a part of the weights in {folder} is missing, as after an interrupted download or copy: "
            f"{', '.join(shards)}."
        )
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    found = f"only pickle files ({', '.join(pickles)}), which can run code when opened" if pickles else "none"
    if others:
        raise ModelError(
            f"Model `{key}`: {folder} has weights under other names than transformers reads ({', '.join(others)}): "
            "model.safetensors is missing. Rename the file if it is the whole model in transformers' own layout."
        )
    raise ModelError(
        f"Model `{key}`: no safetensors weights in {folder}: {found}. Use a revision that has "
        "model.safetensors, or convert the checkpoint once where you trust it with "
        "`model.save_pretrained(folder)` and name that folder as `path`."
    )


def lacking_weights(folder: Path) -> list[str]:
    """Names of shards, or of their index, that a folder with a part of a sharded checkpoint lacks; none: it has all.

    A folder without any safetensors file lacks nothing here.
    """
    if (folder / "model.safetensors").is_file():
        return []
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return [name for name in _named_shards("", index) if not (folder / name).is_file()]
    # A link whose file is gone is a shard too.
    shards = [match for file in folder.iterdir() if (match := SHARD.fullmatch(file.name))]
    if not shards:
        return []
    expected = {
        f"{match['stem']}-{number + shift:05d}-of-{match['total']}.safetensors"
        for match in shards
        for shift in [0 if any(int(other["number"]) == 0 for other in shards) else 1]
        for number in range(int(match["total"]))
    }
    absent = sorted(name for name in expected if not (folder / name).is_file())
    return [index.name, *absent]


def _named_shards(key: str, index: Path) -> list[str]:
    weights = _read_json(key, index).get("weight_map")
    names = weights.values() if isinstance(weights, dict) else ()
    outside = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise ModelError(f"Model `{key}`: {index} names files outside its folder: {outside[0]}.")
    return sorted(set(names))


def _read_config(key: str, folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ModelError(f"Model `{key}`: no folder {folder}.")
    if not (folder / "config.json").is_file():
        raise ModelError(f"Model `{key}`: {folder} holds no config.json.")
    return _read_json(key, folder / "config.json")


def _read_json(key: str, file: Path) -> dict[str, Any]:
    return read_object(file, ModelError, f"Model `{key}`: ")


def refuse_foreign(key: str, folder: Path) -> None:
    """ModelError where a folder holds an adapter, or configuration that names code or other weights than its own."""
    _refuse_adapter(key, folder)
    _refuse_code(key, folder)


def _refuse_folders(key: str, folder: Path) -> None:
    for file in folder.iterdir():
        if file.is_dir() and file.suffix in (".json", ".safetensors", ".txt", ".model"):
            raise ModelError(f"Model `{key}`: {file} is a folder, where a file is expected.")


def refuse_absurd(key: str, folder: Path) -> None:
    """Refuse sizes that no model has: transformers would make it before it looked at the weights."""
    config = _read_config(key, folder)
    where = f"Model `{key}`: {folder / 'config.json'} has"
    sizes = {name: value for name, value in config.items() if isinstance(value, int | float)}
    for name, value in sizes.items():
        most = _MOST_LAYERS if name in _LAYERS else _LARGEST
        if abs(value) > most and math.isfinite(value):
            raise ModelError(f"{where} `{name}` = {value:.3g}: no model is that large.")
    widest = max((max(shape, default=0) for shape in shapes(key, folder).values()), default=0)
    for name in _WIDTHS:
        if sizes.get(name, 0) > widest:
            raise ModelError(
                f"{where} `{name}` = {sizes[name]}, and no weight beside it is larger than {widest}."
            )


def _refuse_adapter(key: str, folder: Path) -> None:
    found = sorted(file.name for file in folder.iterdir() if _matches(file.name, ADAPTERS))
    if found:
        raise ModelError(
            f"Model `{key}`: {folder} holds an adapter ({', '.join(found)}). Adapters are not supported in "
            "the folder of a base: whether one is applied would depend on the packages installed. Move its files to a folder "
            f'of their own; the base with the adapter is then `adapter = "..."` under `[models.{key}]`, beside the base\'s '
            "`path` or `hub`."
        )


def _refuse_code(key: str, folder: Path) -> None:
    """Refuse configuration files that name code, or that make the weights others than those of the files."""
    if (folder / "custom_generate").exists():
        raise ModelError(
            f"Model `{key}`: {folder / 'custom_generate'} is the checkpoint's own code: never run."
        )
    for file in _opened(folder):
        # Vocabularies and indices are JSON too, large, and have keys of their own.
        if _matches(file.name, ("config.json", "*_config.json")):
            # What other libraries write beside these may be a list (`data_config.json` of sentence-transformers).
            content = (
                _read_json(key, file) if file.name in OBJECTS else read(file, ModelError, f"Model `{key}`: ")
            )
            try:
                entries = list(_entries(content, ()))
            except RecursionError:
                raise ModelError(f"Model `{key}`: {file} is nested too deeply.") from None
            for path, entry, value in entries:
                _refuse_entry(key, f"{file} has `{'.'.join(path)}`", entry, value)


def _entries(content: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """(path, last key, value) of every entry of nested objects."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield (*path, name), name, value
            # Names of classes and tokens are keys of the checkpoint's own.
            if name not in ("id2label", "label2id", "added_tokens_decoder"):
                yield from _entries(value, (*path, name))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _entries(value, (*path, str(index)))


def _refuse_entry(key: str, where: str, entry: str, value: Any) -> None:
    if value in (None, False, "", [], {}):
        return
    if entry in CODE:
        raise ModelError(
            f"Model `{key}`: {where}: the checkpoint brings {CODE[entry]}, "
            "which is never run. Use a checkpoint of an architecture that transformers has."
        )
    if entry in OTHER_WEIGHTS:
        raise ModelError(f"Model `{key}`: {where}: {OTHER_WEIGHTS[entry]}.")
    if entry == "init_inputs":
        raise ModelError(
            f"Model `{key}`: {where}: files are read by their names in the folder only. Remove it."
        )
    if entry.removesuffix("_internal").endswith("_implementation"):
        names = [str(name) for name in (value.values() if isinstance(value, dict) else [value]) if name]
        attention = "attn" in entry
        strange = [
            name for name in names if re.search("[/:@|]", name) or (attention and name not in ATTENTION)
        ]
        if strange:
            raise ModelError(
                f"Model `{key}`: {where} = `{strange[0]}`: kernels from the hub are code, which is never run. Remove "
                f"that entry; the study says which attention is used (`attention` under `[models.{key}]`)."
            )
