"""Translation: training a text-to-text model by teacher forcing, and writing translations.

The input is the source text alone (`text`); the translation (`text_pair`) is what the decoder is taught.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlwh.errors import ModelError
from xlwh.models.batches import BATCH_ROWS, BATCH_TOKENS, collate, to_host
from xlwh.models.fitting import batch_tokens_for, each_batch
from xlwh.models.tagging import IGNORED
from xlwh.models.tokenize import Encoded, encode

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

    from xlwh.models.loaded import LoadedModel
    from xlwh.study import Generation
    from xlwh.study.models import Inputs


def sources(examples: pl.DataFrame) -> pl.DataFrame:
    """Translation examples with their source text only, as the encoder sees them."""
    import polars as pl

    return examples.with_columns(pl.lit(None, pl.String).alias("text_pair"))


def _require_no_languages(loaded: LoadedModel) -> None:
    if loaded.family.language_tokens:
        raise ModelError(
            f"Model `{loaded.key}` ({loaded.config.model_type}) marks the language of each text by a token, and its tokenizer "
            "gives all texts the same one. What it writes would be in no certain language: translations by such models are not "
            "supported. Its activations, heads and attributions are."
        )


@dataclass(frozen=True)
class Translations(Encoded):
    """Source texts, with the sub-tokens of their translations in `forced`, end tokens included."""

    forced_truncated: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """`[examples]`, sub-tokens of the translations cut off."""


def encode_translations(
    base: LoadedModel, examples: pl.DataFrame, inputs: Inputs | None = None
) -> Translations:
    """Source texts as inputs, and translations as what is to be written; both cut at the model's length.

    Nothing in `inputs` concerns them. ModelError if the model does not write text.
    """
    import polars as pl

    if base.task != "translation":
        raise ModelError(f"Model `{base.key}` has no text-to-text head, which translation needs.")
    _require_no_languages(base)
    source = encode(base, sources(examples))
    target = encode(base, sources(examples.with_columns(text=pl.col("text_pair"))))
    known = {field.name: getattr(source, field.name) for field in fields(source)}
    known["forced"] = [target.input_ids[target.row(index)].tolist() for index in range(len(target))]
    return Translations(**known, forced_truncated=target.num_truncated)


def translation_targets(
    encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs
) -> dict[str, Sequence[Sequence[int]]]:
    """The sub-tokens of each translation."""
    if encoded.forced is None:
        raise TypeError("translations are encoded by encode_translations")
    return {"labels": encoded.forced}


def translation_counts(encoded: Encoded, gold: object, inputs: Inputs) -> dict[str, int]:
    """Translations that were cut, and sub-tokens cut off."""
    cut = encoded.forced_truncated if isinstance(encoded, Translations) else np.zeros(0, np.int32)
    return {"truncated_translations": int((cut > 0).sum()), "truncated_translation_tokens": int(cut.sum())}


def forced_inputs(base: LoadedModel, inputs: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """Model inputs with the gold translation `[rows, length]`, IGNORED at padding, forced on the decoder."""
    real = labels != IGNORED
    ids = labels.masked_fill(~real, int(base.config.pad_token_id))
    return base.family.teacher_forced(base.model, inputs, ids, real.long())


class TranslationScorer:
    """Development score of translations: the share of gold sub-tokens that are predicted from those before them."""

    def __init__(
        self, encoded: Encoded, examples: pl.DataFrame, labels: Sequence[str], inputs: Inputs
    ) -> None:
        self._right = self._total = 0

    def add(
        self, rows: NDArray[np.int64], output: Any, gold: Mapping[str, Tensor], real: NDArray[np.bool_]
    ) -> int:
        """Take a batch: logits `[rows, length, vocabulary]`, labels `[rows, length]`."""
        labels = gold["labels"]
        counted = labels != IGNORED
        count = int(counted.sum())
        self._right += int((output.logits.argmax(dim=-1) == labels)[counted].sum())
        self._total += count
        return count

    def scores(self) -> dict[str, float]:
        """Accuracy of the next sub-token under teacher forcing."""
        return {"next_token_accuracy": self._right / max(1, self._total)}


def written_logits(
    loaded: LoadedModel,
    encoded: Encoded,
    batch_tokens: int | None = None,
    batch_rows: int | None = None,
) -> tuple[list[list[float]], list[list[float]]]:
    """Logit and probability of every sub-token of the output texts forced in `encoded`, given those before it.

    A list per example, in the order of `encoded.forced`.
    """
    import torch

    forced = encoded.forced
    if forced is None:
        raise TypeError("there are no output texts; encode_translations has them")
    logits: list[list[float]] = [[] for _ in forced]
    probabilities: list[list[float]] = [[] for _ in forced]

    def compute(rows: NDArray[np.int64], length: int) -> None:
        batch = collate(loaded, encoded, rows, length)
        if batch.forced is None:
            return
        scores = loaded.model(**batch.inputs(loaded)).logits.float()
        chosen = scores.gather(-1, batch.forced[0][..., None])[..., 0]
        shares = (chosen - scores.logsumexp(dim=-1)).exp()
        for row, values, share in zip(rows.tolist(), *to_host(chosen, shares), strict=True):
            logits[row] = values[: len(forced[row])].tolist()
            probabilities[row] = share[: len(forced[row])].tolist()

    with torch.inference_mode():
        tokens = batch_tokens_for(loaded, BATCH_TOKENS, batch_tokens)
        deque(each_batch(loaded, encoded.lengths, compute, tokens, batch_rows), maxlen=0)
    return logits, probabilities


@dataclass(frozen=True)
class Written:
    """A translation, as the model wrote it."""

    text: str
    num_tokens: int
    """Sub-tokens written, the end token included."""
    is_cut: bool
    """Whether it was stopped at `generation.max_tokens` before it wrote its end token."""


def translate(
    loaded: LoadedModel,
    encoded: Encoded,
    generation: Generation,
    batch_tokens: int = BATCH_TOKENS,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> list[Written]:
    """What the model writes for each source text, greedily or by beam search, in the order of the texts.

    Batches hold texts of similar lengths. `progress` is called with (texts done, texts). ModelError if the model does
    not write text.
    """
    import torch
    from transformers import GenerationConfig

    if loaded.task != "translation":
        raise ModelError(f"Model `{loaded.key}` has no text-to-text head.")
    _require_no_languages(loaded)
    model: Any = loaded.model
    configuration: Any = GenerationConfig
    settings = configuration(
        do_sample=False,
        num_beams=generation.beams,
        length_penalty=generation.length_penalty if generation.beams > 1 else None,
        max_new_tokens=generation.max_tokens,
        # The model's configuration says no, for everything else that is done with it.
        use_cache=True,
        pad_token_id=loaded.tokenizer.pad_token_id,
        eos_token_id=loaded.tokenizer.eos_token_id,
        decoder_start_token_id=loaded.config.decoder_start_token_id,
    )
    written: dict[int, Written] = {}
    done = 0
    rows_at_once = max(1, batch_rows // generation.beams)

    def compute(rows: NDArray[np.int64], length: int) -> None:
        batch = collate(loaded, encoded, rows, length)
        ids = model.generate(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, generation_config=settings
        )
        texts = loaded.tokenizer.batch_decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        for row, text, tokens in zip(rows.tolist(), texts, ids[:, 1:].tolist(), strict=True):
            # The first token starts the decoder; after the end token comes padding.
            is_cut = settings.eos_token_id not in tokens
            size = len(tokens) if is_cut else tokens.index(settings.eos_token_id) + 1
            written[row] = Written(text, size, is_cut)

    with torch.inference_mode():
        for rows, _ in each_batch(loaded, encoded.lengths, compute, batch_tokens, rows_at_once):
            done += len(rows)
            if progress is not None:
                progress(done, len(encoded))
    return [written[row] for row in range(len(encoded))]
