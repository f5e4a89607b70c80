"""What the words of a concept have in common: an affix, a part of speech, a kind of entity, a language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

UPOS = frozenset(
    {"ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT"}
    | {"SCONJ", "SYM", "VERB", "X"}
)
WORD = ("dataset", "split", "language", "example_id", "word_index")
"""Columns that tell a word."""
_ENTITY = re.compile(r"O|[BIESLU]-(.+)")
_IDEOGRAPHS = 0x2E80
"""From here on a single character is a morpheme more often than not."""

LEAST_TYPES = 3
"""Types that must share an affix for it to be looked at."""
_LONGEST = 6


def affixes(word: str) -> Iterator[tuple[str, str]]:
    """(kind, affix) of a word: prefixes and suffixes of 2 to 6 characters, infixes of 3 to 5, never the whole word.

    In scripts where one character is a morpheme, prefixes and suffixes of one as well.
    """
    least = 1 if max(map(ord, word), default=0) >= _IDEOGRAPHS else 2
    for length in range(least, min(_LONGEST, len(word) - 1) + 1):
        yield "prefix", word[:length]
        yield "suffix", word[-length:]
    inner = word[1:-1]
    found = {inner[at : at + length] for length in (3, 4, 5) for at in range(len(inner) - length + 1)}
    for infix in sorted(found):
        yield "infix", infix


def shared_affixes(members: pl.DataFrame) -> pl.DataFrame:
    """The affix of each concept that is least likely shared by chance, from rows (concept, word).

    Columns concept, num_types, affix, affix_kind, affix_types, affix_base_rate, affix_p; the last five NULL where no
    affix is shared by `LEAST_TYPES`. Words are case-folded types. The chance is that of drawing so many types with
    the affix, or more, among as many types of the clustering (hypergeometric), times the number of affixes tried.
    """
    from scipy.stats import hypergeom

    folded = {word: word.casefold() for word in members["word"].unique()}
    types = members.select(
        "concept", word=pl.col("word").replace_strict(folded, return_dtype=pl.String)
    ).unique()
    counts = types.group_by("concept").agg(num_types=pl.len()).sort("concept")
    words = types["word"].unique().sort().to_list()
    pairs = [(word, kind, affix) for word in words for kind, affix in affixes(word)]
    table = pl.DataFrame(
        pairs, schema={"word": pl.String, "affix_kind": pl.String, "affix": pl.String}, orient="row"
    )
    everywhere = table.group_by("affix_kind", "affix").agg(all_types=pl.len())
    table = table.join(everywhere.filter(pl.col("all_types") >= LEAST_TYPES), on=["affix_kind", "affix"])
    found = (
        types.join(table, on="word")
        .group_by("concept", "affix_kind", "affix")
        .agg(affix_types=pl.len(), all_types=pl.col("all_types").first())
        .filter(pl.col("affix_types") >= LEAST_TYPES)
        .join(counts, on="concept")
    )
    chance = hypergeom.sf(
        found["affix_types"].to_numpy() - 1,
        len(words),
        found["all_types"].to_numpy(),
        found["num_types"].to_numpy(),
    )
    found = found.with_columns(chance=pl.Series(chance, dtype=pl.Float64)).with_columns(
        affix_p=(pl.col("chance") * pl.len().over("concept")).clip(0, 1),
        affix_base_rate=pl.col("all_types") / len(words),
        length=pl.col("affix").str.len_chars(),
    )
    # Of equally unlikely ones the longest, since "ation" says more than "tion".
    best = found.sort(
        ["concept", "chance", "length", "affix_kind", "affix"], descending=[False, False, True, True, False]
    ).unique("concept", keep="first", maintain_order=True)
    columns = ("affix", "affix_kind", "affix_types", "affix_base_rate", "affix_p")
    return counts.join(best.select("concept", *columns), on="concept", how="left", maintain_order="left")


def gold_tags(examples: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    """`pos` and `entity` -> gold tags as rows of WORD and `tag`, of all examples whose dataset has such tags."""
    frame = (
        examples.filter(pl.col("word_labels").is_not_null())
        .select(
            *WORD[:-1],
            word_index=pl.int_ranges(pl.col("word_labels").list.len(), dtype=pl.Int32),
            tag="word_labels",
        )
        .explode("word_index", "tag")
        .collect()
    )
    found = {"pos": [frame.clear()], "entity": [frame.clear()]}
    for part in frame.partition_by("dataset", "split", "language"):
        kind = kind_of_tags(part["tag"].unique().to_list())
        if kind is not None:
            found[kind].append(part)
    return {kind: pl.concat(frames) for kind, frames in found.items()}


def kinds(members: pl.DataFrame, tags: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Rows of `concept_kinds` of one clustering, from its rows of `concept_members` and the gold tags."""
    pos = members.join(tags["pos"], on=WORD).select("concept", "tag")
    entity = members.join(tags["entity"], on=WORD).select(
        "concept", tag=pl.col("tag").map_elements(entity_type, return_dtype=pl.String)
    )
    found = members.group_by("model", "clustering", "concept").agg(
        num_tokens=pl.len(), num_languages=pl.col("language").n_unique()
    )
    for more in (
        shared_affixes(members),
        commonest(pos, "pos"),
        commonest(entity, "entity"),
        commonest(members.select("concept", tag="language"), "language"),
    ):
        found = found.join(more, on="concept", how="left")
    return found.with_columns(pl.col("num_pos_tagged", "num_entity_tagged").fill_null(0)).sort("concept")


def kind_of_tags(tags: Sequence[str]) -> str | None:
    """`pos` for universal parts of speech, `entity` for IOB tags, None for anything else (or nothing)."""
    names = set(tags)
    if not names:
        return None
    if names <= UPOS:
        return "pos"
    return "entity" if all(_ENTITY.fullmatch(name) for name in names) else None


def entity_type(tag: str) -> str:
    """`PER` of `B-PER`; `O` of `O`."""
    found = _ENTITY.fullmatch(tag)
    return tag if found is None or found.group(1) is None else found.group(1)


def commonest(tagged: pl.DataFrame, name: str) -> pl.DataFrame:
    """The commonest tag of each concept, from rows (concept, tag), one per member.

    Columns concept, num_<name>_tagged, <name>, <name>_tokens, <name>_base_rate (its share of all rows). Ties go to the
    tag that is rarer elsewhere, then alphabetically.
    """
    total = max(1, tagged.height)
    rates = tagged.group_by("tag").agg(rate=pl.len() / total)
    counts = tagged.group_by("concept", "tag").agg(tokens=pl.len()).join(rates, on="tag")
    best = counts.sort(["concept", "tokens", "rate", "tag"], descending=[False, True, False, False]).unique(
        "concept", keep="first", maintain_order=True
    )
    sizes = tagged.group_by("concept").agg(pl.len().alias(f"num_{name}_tagged"))
    return best.join(sizes, on="concept", maintain_order="left").select(
        "concept",
        f"num_{name}_tagged",
        pl.col("tag").alias(name),
        pl.col("tokens").alias(f"{name}_tokens"),
        pl.col("rate").alias(f"{name}_base_rate"),
    )
