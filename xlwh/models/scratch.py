"""Models from nothing: random weights of a given shape, and a Unigram tokenizer trained on texts.

A tokenizer is trained with SentencePiece's algorithm as the tokenizers library has it (Kudo 2018), on text as found:
pieces begin with ▁ where a blank went before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedTokenizerBase

from xlwh.errors import ModelError
from xlwh.models.loading import quiet

if TYPE_CHECKING:
    from xlwh.study import Scratch

SPECIAL = ("<pad>", "</s>", "<unk>")
"""First pieces of a trained tokenizer, in T5's order."""
_STEP = 1e-4
"""Difference of the scores of letters that the library adds to a vocabulary (`min_score_penalty_delta`)."""


def unigram(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """A T5 tokenizer with a Unigram vocabulary of at most `vocab_size` pieces trained on `texts`.

    ModelError where there is no text.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    if not any(text.strip() for text in texts):
        raise ModelError("There are no texts to train a tokenizer on.")
    # The library's classes have stubs that leave their arguments untyped.
    library: Any = models
    tokenizer: Any = Tokenizer(library.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, show_progress=False, special_tokens=list(SPECIAL), unk_token="<unk>"
    )
    tokenizer.train_from_iterator(texts, trainer)
    learnt = json.loads(tokenizer.to_str())["model"]["vocab"]
    scores = _without_chance({piece: round(score, 6) for piece, score in learnt[len(SPECIAL) :]})
    # Pieces of equal scores come in another order each time: hash maps.
    rounded = sorted((-score, piece) for piece, score in scores.items())
    pieces = [(piece, 0.0) for piece in SPECIAL] + [(piece, -negative) for negative, piece in rounded]
    wrapper: Any = transformers.T5Tokenizer
    made: PreTrainedTokenizerBase = wrapper(vocab=pieces, extra_ids=0)
    return made


def _without_chance(scores: dict[str, float]) -> dict[str, float]:
    """Scores with those of letters that training has left out given in order of the letters.

    The library adds them again with the lowest score, and one, two, three … steps above it, in the order of a hash map,
    which is another one each time.
    """
    lowest = min(scores.values(), default=0.0)
    added, steps = list[str](), 0
    letters = sorted((score, piece) for piece, score in scores.items() if len(piece) == 1)
    for score, piece in letters:
        above = round((score - lowest) / _STEP)
        if above > steps + 1 or abs(score - lowest - above * _STEP) > 2e-6:
            break
        added.append(piece)
        steps = above
    return scores | dict(zip(sorted(added), sorted(scores[piece] for piece in added), strict=True))


def create(scratch: Scratch, tokenizer: PreTrainedTokenizerBase, folder: Path) -> dict[str, Any]:
    """Save a text-to-text model with random weights for a tokenizer into `folder`; its configuration.

    Weights are drawn from the seed; the caller's random state is left as it was. ModelError where the configuration
    is not one of the architecture.
    """
    size = max(tokenizer.get_vocab().values()) + 1
    fixed = {
        "vocab_size": size,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    given = set(fixed) & set(scratch.config)
    known = set(AutoConfig.for_model(scratch.family).to_dict())
    unknown = set(scratch.config) - known
    if given or unknown:
        raise ModelError(
            f"scratch.config: {', '.join(sorted(given | unknown))}: "
            + ("follows from the tokenizer." if given else f"no value of a `{scratch.family}` configuration.")
        )
    auto: Any = transformers.AutoModelForSeq2SeqLM
    try:
        config = AutoConfig.for_model(scratch.family, **fixed, **scratch.config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(scratch.seed)
            model = auto.from_config(config)
    except (StrictDataclassError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ModelError(f"scratch.config makes no `{scratch.family}` model: {error}") from None
    with quiet():
        model.save_pretrained(folder)
    described: dict[str, Any] = config.to_dict()
    return described
