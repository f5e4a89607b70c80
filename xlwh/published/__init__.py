"""The numbers printed in the papers' tables, as one long table. Only data and its loader belong here.

One CSV file a paper, in the columns of the contract `PublishedResults`, values as printed and the unit they are printed
in (`value_unit`):

- `ccta.csv`: "Do multi-lingual pre-trained language models reveal consistent token attributions in different
  languages?", tables 1 to 5. Shares. `overall` is the mean over the table's languages, the self pair included
  (but in table 4, source `zh`: .860 is printed, the row's mean is .856).
- `shapley_heads.csv`: Held and Yang (EACL 2023), "Shapley Head Pruning", tables 2 (a language's own mask:
  `accuracy_targeted.<ranking>`) and 3 (the English mask: `accuracy_zero_shot.<ranking>`). Accuracies in percent;
  `accuracy` is the model with all heads. The marks of significance are in `note`.
- `concept_alignment.csv`: "Exploring alignment in shared cross-lingual spaces" (ACL 2024), tables 1 (BLEU) and
  2 (span F1, percent).
- `faithfulness.csv`: arXiv 2403.12809, recovered from the authors' released notebooks, so `variant` is
  `published_code` and the tables are called `hard`, `soft` and `fertility`. Scores are ratios to random
  attribution: `<sufficiency|comprehensiveness>_ratio.<method>`, soft ones with the prefix `soft_`. `note` says
  which models are compared with each other: a multilingual and a monolingual one of the same family (`bert`,
  `roberta`), per dataset and language. Languages are those of the data; models were trained on the same ones.

A model that several papers use has one name here (`mBERT`, `XLM-R-Base`), so that one `published_as` in a study
finds all of its rows; so have the datasets `xnli` and `paws-x`.
"""

from __future__ import annotations

import hashlib
from importlib import resources

import polars as pl

from xlwh.tables import PublishedResults

FILES = ("ccta.csv", "shapley_heads.csv", "concept_alignment.csv", "faithfulness.csv")


def load() -> pl.DataFrame:
    """Every published number, in the columns of the contract `PublishedResults`."""
    folder = resources.files(__name__)
    schema = {name: column.dtype for name, column in PublishedResults.columns().items()}
    frames = [
        pl.read_csv((folder / name).read_bytes(), schema_overrides=schema).select(list(schema))
        for name in FILES
    ]
    return PublishedResults.validate(pl.concat(frames))


def digest() -> str:
    """Identity of the data files: 32 hex digits over their bytes."""
    folder = resources.files(__name__)
    found = hashlib.blake2b(digest_size=16)
    for name in FILES:
        found.update((folder / name).read_bytes())
    return found.hexdigest()
