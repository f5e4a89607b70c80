"""What stands in for a token that is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xlwh.errors import ModelError

if TYPE_CHECKING:
    from xlwh.models.loaded import LoadedModel


def mask_token_id(loaded: LoadedModel) -> int:
    """Id of the mask token; of PAD where the tokenizer has none, as those of decoders and T5."""
    mask = loaded.tokenizer.mask_token_id
    return mask if isinstance(mask, int) else pad_token_id(loaded)


def pad_token_id(loaded: LoadedModel) -> int:
    """Id of PAD; ModelError where the tokenizer has none."""
    pad = loaded.tokenizer.pad_token_id
    if not isinstance(pad, int):
        raise ModelError(f"Model `{loaded.key}` has no PAD token, which removed tokens are replaced by.")
    return pad
