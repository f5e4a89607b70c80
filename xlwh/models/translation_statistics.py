"""Sufficient statistics of BLEU and chrF, by sacreBLEU (Post 2018).

Both are functions of sums of counts over a corpus, so counts per sentence are all that a score, or a bootstrap of
it, ever needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

BLEU_TOKENIZERS = {"zh": "zh", "ja": "char", "th": "char", "ko": "char"}
"""sacreBLEU's tokenizer by language of the output; 13a, made for scripts with blanks, where none is named.

Its own ones for Japanese and Korean need MeCab; Thai has none: characters, as its documentation advises.
"""


def statistics(keys: pl.DataFrame, outputs: Sequence[str], references: Sequence[str]) -> pl.DataFrame:
    """Rows of `translation_statistics`, BLEU's and chrF's, for outputs in one language.

    `keys` are the key columns of the outputs, in their order.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    language = "" if keys.is_empty() else str(keys["language"][0]).split("-")[0]
    bleu: Any = BLEU(tokenize=BLEU_TOKENIZERS.get(language, "13a"))
    chrf: Any = CHRF()
    frames = []
    for name, metric in (("bleu", bleu), ("chrf", chrf)):
        # The method that corpus_score sums over; the signature is known once references have been seen.
        counts = metric._extract_corpus_statistics(list(outputs), [list(references)]) if outputs else []
        frames.append(
            keys.with_columns(
                pl.lit(name).alias("metric"),
                pl.lit(str(metric.get_signature()) if outputs else "").alias("signature"),
                pl.Series("statistics", [list(map(int, row)) for row in counts], dtype=pl.List(pl.Int64)),
            )
        )
    return pl.concat(frames)


def version() -> str:
    """Version of sacreBLEU, which its counts depend on."""
    from importlib.metadata import version

    return version("sacrebleu")
