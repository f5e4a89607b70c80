"""From checked files to a model in memory: heads, labels, tokenizer, and the last refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from xlwh.errors import ModelError
from xlwh.jsons import read_object
from xlwh.models.families import Family, family_of
from xlwh.models.labels import LABELLED, classes
from xlwh.models.loaded import LoadedModel
from xlwh.models.pins import Pin, refuse_absurd, weight_files
from xlwh.models.weights import refuse_other_weights

if TYPE_CHECKING:
    from xlwh.study import Model

HEADS: dict[str, Any] = {
    "ForSequenceClassification": transformers.AutoModelForSequenceClassification,
    "ForTokenClassification": transformers.AutoModelForTokenClassification,
    "ForQuestionAnswering": transformers.AutoModelForQuestionAnswering,
    "ForQuestionAnsweringSimple": transformers.AutoModelForQuestionAnswering,
    "ForMaskedLM": transformers.AutoModelForMaskedLM,
    "WithLMHeadModel": transformers.AutoModelForMaskedLM,
    "ForCausalLM": transformers.AutoModelForCausalLM,
    "ForConditionalGeneration": transformers.AutoModelForSeq2SeqLM,
}
"""End of an architecture's name -> the class that restores the checkpoint with its head."""


TRAINABLE: dict[str, Any] = {
    "sequence_classification": transformers.AutoModelForSequenceClassification,
    "token_classification": transformers.AutoModelForTokenClassification,
    "question_answering": transformers.AutoModelForQuestionAnswering,
    "translation": transformers.AutoModelForSeq2SeqLM,
}
"""Kind of head (`xlwh.models.training_data.Objective.head`) -> the class that puts a new one on a base."""


def load_checkpoint(pin: Pin, options: Model, device: torch.device) -> LoadedModel:
    """The checkpoint as it was saved, head included, in evaluation mode with every weight frozen."""
    config = _config(pin)
    family = family_of(config)
    tokenizer = _tokenizer(pin, family)
    dtype: torch.dtype = getattr(torch, options.dtype)
    if pin.adapter is None:
        labels = _labels(pin, config, options)
        model, report = _from_pretrained(_class(pin), pin, options, dtype)
        _refuse_not_finite(pin, model)
        refuse_other_weights(pin.key, model, weight_files(pin.key, pin.folder), report, new_head=False)
    else:
        model = _with_adapter(pin, options).to(dtype=dtype)
        _refuse_not_finite(pin, model)
        config = model.config
        labels = _labels(pin, config, options)
    _check(pin, model, family, tokenizer)
    model.to(device).eval().requires_grad_(False)
    return LoadedModel(
        key=pin.key,
        pin=pin,
        model=model,
        tokenizer=tokenizer,
        labels=labels,
        task=pin.task,
        family=family,
        device=device,
        max_length=_max_length(options, family, config),
    )


def _labels(pin: Pin, config: Any, options: Model) -> tuple[str, ...] | None:
    if pin.task not in LABELLED:
        return None
    return classes(pin.key, config.to_dict(), pin.folder / "config.json", options.labels)


def _with_adapter(pin: Pin, options: Model) -> Any:
    """The base with its adapter merged, float32."""
    from xlwh.models.adapters import merged, num_outputs

    assert pin.adapter is not None
    count = num_outputs(pin.key, pin.adapter)
    overrides: dict[str, Any] = {}
    if count is not None:
        given = options.labels if options.labels is not None and len(options.labels) == count else None
        overrides = {"num_labels": count} if given is None else _outputs(given)
    # What is drawn here at random, the adapter has to bring.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base, report = _from_pretrained(_class(pin), pin, options, torch.float32, **overrides)
    refuse_other_weights(pin.key, base, weight_files(pin.key, pin.folder), report, new_head=True)
    drawn = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    return merged(pin, base, frozenset(drawn))


def load_trainable(
    pin: Pin,
    options: Model,
    device: torch.device,
    labels: tuple[str, ...],
    seed: int,
    head: str = "sequence_classification",
) -> LoadedModel:
    """The checkpoint under a head of the kind `head` (TRAINABLE) for `labels`, float32, in training mode.

    The head and the pooler are drawn from `seed` where the checkpoint has none that fits, and its former head is left
    out; ModelError where any other weight would be. The caller's random state is left as it was.
    """
    if pin.adapter is not None:
        raise ModelError(
            f"Model `{pin.key}` has an adapter, and cannot be fine-tuned further as it is. Merge it into its base once "
            "(peft: `model.merge_and_unload().save_pretrained(folder)`) and name that folder as `path`."
        )
    family = family_of(_config(pin))
    tokenizer = _tokenizer(pin, family)
    # The generator that initialises weights is the CPU's: models are built there and moved afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, report = _from_pretrained(TRAINABLE[head], pin, options, torch.float32, **_outputs(labels))
    _refuse_not_finite(pin, model)
    refuse_other_weights(pin.key, model, weight_files(pin.key, pin.folder), report, new_head=True)
    _check(pin, model, family, tokenizer)
    model.to(device).train()
    return LoadedModel(
        key=pin.key,
        pin=pin,
        model=model,
        tokenizer=tokenizer,
        labels=labels or None,
        task=head,
        family=family,
        device=device,
        max_length=_max_length(options, family, model.config),
    )


def _outputs(labels: tuple[str, ...]) -> dict[str, Any]:
    """What the configuration says of a head's outputs: two (start and end) for a head that has no labels."""
    if not labels:
        return {"num_labels": 2}
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _config(pin: Pin) -> Any:
    try:
        family = family_of(pin.model_type)
    except ModelError as error:
        raise ModelError(f"Model `{pin.key}`: {pin.folder}/config.json: {error}") from None
    refuse_absurd(pin.key, pin.folder)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(
                pin.folder, local_files_only=True, trust_remote_code=False, **_renamed(pin)
            )
    except Exception as error:  # configurations check their entries in ways of their own
        reason = " ".join(str(error).split())
        raise ModelError(f"Model `{pin.key}`: {pin.folder}/config.json is not usable: {reason}") from None
    positions = getattr(config, "position_embedding_type", None)
    if positions not in (None, "absolute"):
        raise ModelError(
            f"Model `{pin.key}`: {pin.folder}/config.json has `position_embedding_type` = `{positions}`: relative "
            "positions, which transformers 5 no longer computes. The model would be another one."
        )
    try:
        family.require_described(config)
    except ModelError as error:
        raise ModelError(f"Model `{pin.key}`: {pin.folder}/config.json {error}") from None
    try:
        family.max_positions(config)
    except ModelError as error:
        raise ModelError(f"Model `{pin.key}`: {pin.folder}/config.json is not usable: {error}") from None
    return config


def _renamed(pin: Pin) -> dict[str, Any]:
    """Entries of config.json that transformers has by another name, and would pass over: by that name."""
    said = read_object(pin.folder / "config.json", ModelError, f"Model `{pin.key}`: ")
    names = family_of(pin.model_type).renamed
    return {new: said[old] for old, new in names if old in said and new not in said}


def _tokenizer(pin: Pin, family: Family) -> PreTrainedTokenizerBase:
    # Else a folder that has one is read by mistral-common wherever that package is installed.
    tekken = {"mistral_format": False} if (pin.folder / "tekken.json").is_file() else {}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                pin.folder,
                local_files_only=True,
                trust_remote_code=False,
                padding_side=family.padding_side,
                **tekken,
            )
    except ImportError as error:
        raise ModelError(f"Model `{pin.key}`: its tokenizer needs a package: {error}") from None
    except Exception as error:  # the Rust tokenizers raise bare Exception on a damaged file
        reason = _sentencepiece_reason(pin) or error
        raise ModelError(
            f"Model `{pin.key}`: the tokenizer in {pin.folder} cannot be read: {reason}"
        ) from None
    if _draws(tokenizer):
        raise ModelError(
            f"Model `{pin.key}`: its tokenizer draws other sub-tokens for the same text each time (BPE dropout or "
            f"SentencePiece sampling, in the tokenizer's files in {pin.folder}). Set `dropout` to null, or "
            "`enable_sampling` to false. Random sub-tokens by a fixed seed are to be had as "
            f"`tokenization` under `[models.{pin.key}]`."
        )
    return tokenizer


def _draws(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer is random, as some are left after training."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and getattr(backend.model, "dropout", None):
        return True
    sampling: Any = getattr(tokenizer, "sp_model_kwargs", None) or tokenizer.init_kwargs.get(
        "sp_model_kwargs"
    )
    return bool(sampling and sampling.get("enable_sampling"))


def _sentencepiece_reason(pin: Pin) -> str | None:
    """Why a SentencePiece file cannot be read here; transformers then speaks of tiktoken instead."""
    if (pin.folder / "tokenizer.json").is_file() or not any(pin.folder.glob("*.model")):
        return None
    try:
        from sentencepiece import sentencepiece_model_pb2  # noqa: F401
    except Exception as error:  # protobuf raises its own where its version is older than the generated code
        return (
            "SentencePiece files need matching versions of sentencepiece and protobuf "
            f"(pip install 'xlwh[sentencepiece]'): {error}"
        )
    return None


def _class(pin: Pin) -> Any:
    name = pin.architecture or ""
    return next((auto for suffix, auto in HEADS.items() if name.endswith(suffix)), transformers.AutoModel)


def _from_pretrained(
    auto: Any, pin: Pin, options: Model, dtype: torch.dtype, **overrides: Any
) -> tuple[Any, dict[str, Any]]:
    """The model, and transformers' report of what it found for it, which the caller judges."""
    supported = family_of(pin.model_type).attention
    attention = options.attention if options.attention in supported else supported[0]
    try:
        with quiet():
            model, info = auto.from_pretrained(
                pin.folder,
                dtype=dtype,
                attn_implementation=attention,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                # How outputs are returned, not what they are: all that reads them wants them by name.
                return_dict=True,
                # Else the shapes are only written to a log; `refuse_other_weights` names them.
                ignore_mismatched_sizes=True,
                **_renamed(pin),
                **overrides,
            )
    except Exception as error:  # safetensors, torch and transformers each raise their own on damaged files
        raise ModelError(f"Model `{pin.key}`: {pin.folder} cannot be loaded: {error}") from None
    if model.config._attn_implementation != attention:
        raise ModelError(
            f"Model `{pin.key}`: transformers runs attention as `{model.config._attn_implementation}`, not as `{attention}`."
        )
    return model, dict(info)


def _refuse_not_finite(pin: Pin, model: PreTrainedModel) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(f"Model `{pin.key}`: weight `{name}` holds NaN or infinite values.")


def _check(pin: Pin, model: PreTrainedModel, family: Family, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = family.word_embedding(model).weight.shape[0]
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= rows:
        raise ModelError(
            f"Model `{pin.key}`: the tokenizer in {pin.folder} does not match: it has token ids up to {highest}, "
            f"the word embedding has {rows} rows."
        )
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"Model `{pin.key}`: the tokenizer has no padding token. Set `pad_token` in "
            f"{pin.folder / 'tokenizer_config.json'} to a token that texts do not use."
        )
    declared = getattr(model.config, "pad_token_id", None)
    if declared is not None and declared != tokenizer.pad_token_id:
        raise ModelError(
            f"Model `{pin.key}`: the tokenizer in {pin.folder} does not match: its padding token has id "
            f"{tokenizer.pad_token_id}, config.json says {declared}."
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    # A cache of keys and values would only cost time and memory; what writes step by step asks for it. Decoders
    # within a model have a copy of the configuration.
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if hasattr(config, "use_cache"):
            config.use_cache = False


def _max_length(options: Model, family: Family, config: Any) -> int:
    limit = family.max_positions(config)
    return options.max_length if limit is None else min(options.max_length, limit)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and load reports: what they report is checked here."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
