"""The demo's sub-word tokenizer: byte-pair merges within words of all six languages, with offsets.

BPE and not Unigram: the Unigram trainer of `tokenizers` proposes only pieces that continue in several ways, so in a
corpus of so few words it leaves the most frequent ones (`the`, `is`) in two pieces.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from xlwh.demo.languages import Word

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 2200
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In the order of their ids."""
BLANK = "▁"


def train_tokenizer(
    sentences: Iterable[tuple[str, list[Word]]], max_length: int, vocabulary: int = VOCABULARY
) -> PreTrainedTokenizerFast:
    """A fast tokenizer from (language, words) sentences; pairs read `<s> A </s> </s> B </s>`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS[3]))
    tokenizer.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=list(SPECIALS), show_progress=False)
    # Word by word, before the pre-tokenizer is set: Chinese has no blanks, and no piece shall span two of its words.
    units = (
        ("" if language == "zh" else BLANK) + word.form for language, words in sentences for word in words
    )
    tokenizer.train_from_iterator(units, trainer)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=BLANK)
    tokenizer.decoder = decoders.Metaspace(replacement=BLANK)
    begin, pad, end, unknown, mask = SPECIALS
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin}:0 $A:0 {end}:0",
        pair=f"{begin}:0 $A:0 {end}:0 {end}:1 $B:1 {end}:1",
        special_tokens=[(begin, SPECIALS.index(begin)), (end, SPECIALS.index(end))],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=end,
        cls_token=begin,
        sep_token=end,
        pad_token=pad,
        unk_token=unknown,
        mask_token=mask,
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
