"""Vectors of the words of a study's corpora in the shared space that consistency is measured in.

A space of `.vec` files is shared by the models: its slot holds the words that any of them sees in the language, and
is identified by the file and those words. A space of input embeddings belongs to one model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from xlwh.corpora.dictionaries import Dictionary, read_dictionary
from xlwh.digests import HashCache
from xlwh.errors import CorpusError
from xlwh.steps.base import Context, Key, StepResult, Stopwatch, not_applicable
from xlwh.steps.models.evaluated import CLASSIFICATION, QUESTION_ANSWERING, corpora
from xlwh.steps.models.selftests import load
from xlwh.steps.upstream import identity, required
from xlwh.store import Entry, Slot, fingerprint, schema
from xlwh.study import Space, Study

CODE_VERSION = "3"

_SHOWN = 5
_EVIDENCE = 5
"""Words that say which side of a dictionary is which."""
_KEY = re.compile(r"/(\w+/)+|\w{2,12}(:|__|#)(?=\w)")
"""Prefixes of words: ConceptNet's `/c/en/`, and `en:`, `en__`, `en#`."""

PAIRED = (*CLASSIFICATION, QUESTION_ANSWERING, None)
"""Tasks whose texts are compared between languages; None: a dataset without examples."""


@dataclass(frozen=True)
class _Made:
    """Vectors `[n, d]` of words, and the spelling each was found under."""

    words: list[str]
    matched: list[str]
    vectors: NDArray[np.floating[Any]]
    metadata: dict[str, object]


def run(context: Context, key: Key) -> StepResult:
    """Write `word_vectors` of one language in the space of the study's consistency."""
    model, language = str(key.model), str(key.language)
    reason = reason_not_covered(context.study, language, model)
    if reason is not None:
        return not_applicable(reason)
    if not any(corpus.task in PAIRED for corpus in corpora(context, model, language)):
        return not_applicable(f"`{model}` is evaluated on no classes or questions in `{language}`.")
    slot = slot_of(context.study, model, language)
    current = current_fingerprint(context, model, language)
    if not context.force and context.warehouse.is_fresh(slot, current):
        return StepResult(status="fresh")
    watch = Stopwatch()
    space, alignment = _space(context.study), alignment_of(context.study, language)
    if space.kind == "vec":
        made = _from_file(context, language, space)
    elif context.study.consistency is not None and context.study.consistency.unit == "token":
        made = _from_embeddings(context, model, language, space, tokens=True)
    else:
        made = _from_embeddings(context, model, language, space, tokens=False)
    frame = pl.DataFrame(
        {
            "space": pl.repeat(slot.keys[0], len(made.words), dtype=pl.String, eager=True),
            "language": pl.repeat(language, len(made.words), dtype=pl.String, eager=True),
            "word": made.words,
            "matched": made.matched,
            "vector": pl.Series(list(made.vectors.astype(np.float32)), dtype=pl.List(pl.Float32)),
            "alignment": pl.repeat(alignment, len(made.words), dtype=pl.String, eager=True),
        },
        schema=schema("word_vectors"),
    ).sort("word")
    provenance = None if space.kind == "vec" else context.zoo.pin(model).provenance
    context.warehouse.write({slot: frame}, current, provenance)
    return StepResult(
        status="written",
        rows=frame.height,
        duration_s=watch.seconds,
        metadata={"alignment": alignment, **made.metadata},
    )


def slot_of(study: Study, model: str, language: str) -> Slot:
    """Where the vectors of a language lie that consistency of a model uses."""
    return Slot("word_vectors", (space_key(study, model), language))


def space_key(study: Study, model: str) -> str:
    """Key of the space in `word_vectors`: the study's name of it for `.vec` files, `<model>.<name>` for the model's
    own embeddings of words, `<model>.<name>.tokens` for those of sub-tokens."""
    assert study.consistency is not None
    name = study.consistency.space
    if _space(study).kind == "vec":
        return name
    return f"{model}.{name}.tokens" if study.consistency.unit == "token" else f"{model}.{name}"


def reason_not_covered(study: Study, language: str, model: str) -> str | None:
    """Why a language of a model has no place in the space of the study's consistency; None if it has one."""
    if study.consistency is None:
        return "The study has no [consistency] section."
    if study.consistency.models is not None and model not in study.consistency.models:
        return f"The study does not measure the consistency of `{model}`."
    space = _space(study)
    if space.kind == "vec" and language not in space.files:
        return f"The space `{study.consistency.space}` has no vector file for `{language}`."
    return None


def alignment_of(study: Study, language: str) -> str:
    """How a language is brought into the space: given, pivot, procrustes or none."""
    space = _space(study)
    if space.kind == "vec":
        return "given"
    if language == space.pivot:
        return "pivot"
    return "procrustes" if language in space.dictionaries else "none"


def current_fingerprint(context: Context, model: str, language: str) -> str:
    """What the vectors of a language must be made from; MissingDataError where the tokens are still to be made."""
    study, space = context.study, _space(context.study)
    tokens = _token_entries(context, model, language)
    if space.kind == "vec":
        words = "\n".join(_vocabulary(context, _all_token_entries(context, language)))
        content = hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return fingerprint(
            "word_vectors",
            CODE_VERSION,
            {"min_coverage": space.min_coverage},
            [_digest(context, space.files[language]), f"words {content}"],
        )
    pin, used = context.zoo.pin(model), _dictionaries_used(space, language)
    inputs = [pin.weight_hash, pin.tokenizer_hash, *map(identity, tokens)]
    inputs += [f"{name} {_digest(context, space.dictionaries[name])}" for name in used]
    parameters = {
        "unit": study.consistency.unit if study.consistency is not None else None,
        "pivot": space.pivot,
        "alignment": alignment_of(study, language),
        "min_coverage": space.min_coverage,
        "foreign_first": sorted(set(space.reversed_dictionaries) & set(used)),
    }
    return fingerprint("word_vectors", CODE_VERSION, parameters, inputs)


def _space(study: Study) -> Space:
    assert study.consistency is not None
    return study.spaces[study.consistency.space]


def _dictionaries_used(space: Space, language: str) -> list[str]:
    """Languages whose dictionaries decide how a language lies in the space: the first one's, and its own."""
    used = dict.fromkeys(list(space.dictionaries)[:1])
    if language in space.dictionaries and language != space.pivot:
        used[language] = None
    return list(used)


def _digest(context: Context, file: str) -> str:
    path = context.study.data_path(file)
    if not path.is_file():
        raise CorpusError(f"No file {path}, which `{file}` in the study's [spaces] names.")
    return HashCache.of(context.warehouse.root).digest([path])


def _token_entries(context: Context, model: str, language: str) -> list[Entry]:
    return [
        required(context, Slot("tokens", (model, language), corpus.dataset), Key(model, language=language))
        for corpus in corpora(context, model, language)
        if corpus.task in PAIRED
    ]


def _all_token_entries(context: Context, language: str) -> list[Entry]:
    """Tokens of the language under every model of the study, as far as they are there."""
    slots = (
        Slot("tokens", (model, language), dataset)
        for model in context.study.models
        for dataset in context.study.evaluations(model, language)
    )
    return [entry for entry in map(context.warehouse.current, slots) if entry is not None]


def _vocabulary(context: Context, entries: Iterable[Entry]) -> list[str]:
    """Distinct words of some tokens, sorted."""
    files = [context.warehouse.root / entry.file for entry in entries]
    words = pl.scan_parquet(files).select(pl.col("word").drop_nulls().unique()).collect()["word"].unique()
    return sorted(words.to_list())


def _from_file(context: Context, language: str, space: Space) -> _Made:
    from xlwh.consistency.vectors import read_vectors

    words = _vocabulary(context, _all_token_entries(context, language))
    path = context.study.data_path(space.files[language])
    found = read_vectors(path, words)
    _require_coverage(
        context.study, language, len(words), len(found.words), found.missing, f"{path}: ", found.examples
    )
    return _Made(found.words, found.matched, found.vectors, asdict(found.report))


def _from_embeddings(context: Context, model: str, language: str, space: Space, tokens: bool) -> _Made:
    from xlwh.consistency.embeddings import input_embedding, word_embedder
    from xlwh.consistency.spaces import Rotation, align, pivot_mean

    loaded = load(context, model, "tokens")
    embedding, pivot = input_embedding(loaded), str(space.pivot)
    embed_pivot = word_embedder(loaded, pivot)
    dictionaries = {
        name: _dictionary(context.study, space, name) for name in _dictionaries_used(space, language)
    }
    mean: NDArray[np.floating[Any]] = np.zeros(embedding.shape[1])
    if dictionaries:
        mean = pivot_mean(next(iter(dictionaries.values())), embed_pivot)
    entries = _token_entries(context, model, language)
    vocabulary = _vocabulary(context, entries)
    own = language if language in dictionaries else next(iter(dictionaries), None)
    if own is not None and (own == language or language == pivot):
        _require_direction(context.study, space, own, dictionaries[own], language, vocabulary)
    rotation, metadata = Rotation(mean, None), dict[str, object]()
    if alignment_of(context.study, language) == "procrustes":
        rotation, report = align(dictionaries[language], embed_pivot, word_embedder(loaded, language), mean)
        metadata = {f"dictionary_{name}": value for name, value in asdict(report).items()}
    if tokens:
        pieces = _sub_tokens(context, entries)
        asked, raw = pieces["token"].to_list(), embedding[pieces["token_id"].to_numpy()]
        covered = np.ones(len(asked), dtype=bool)
    else:
        asked = vocabulary
        raw, covered = word_embedder(loaded, language)(asked)
    words = [word for word, has in zip(asked, covered.tolist(), strict=True) if has]
    without = [word for word, has in zip(asked, covered.tolist(), strict=True) if not has]
    _require_coverage(context.study, language, len(asked), len(words), without, f"`{model}`: ")
    metadata |= {"asked": len(asked), "found": len(words), "dimension": embedding.shape[1]}
    return _Made(words, words, rotation.apply(raw[covered]), metadata)


def _require_coverage(
    study: Study,
    language: str,
    asked: int,
    found: int,
    missing: Sequence[str],
    where: str,
    examples: Sequence[str] = (),
) -> None:
    """Stop where so few words have a vector that similarities would say nothing; `CorpusError` shows both sides."""
    space = _space(study)
    if not asked or (found and found >= space.min_coverage * asked):
        return
    assert study.consistency is not None
    shown = f" Not found: {', '.join(missing[:_SHOWN])}." if missing else ""
    has = f" The file has: {', '.join(examples)}." if examples else ""
    raise CorpusError(
        f"{where}{found} of {asked} distinct words of the corpora in `{language}` have a vector ({found / asked:.0%}); at "
        f"least {space.min_coverage:.0%} are needed (`spaces.{study.consistency.space}.min_coverage`).{shown}{has}"
        f"{_why_not_found(examples)}"
    )


def _why_not_found(examples: Sequence[str]) -> str:
    """What the file's words have in common that would explain it, as a sentence."""
    prefixes = [match[0] for word in examples if (match := _KEY.match(word))]
    if prefixes:
        return (
            f" Its keys begin with a prefix such as `{prefixes[0]}`: write plain words, one language a file."
        )
    if examples and all(word.isupper() or not word.islower() for word in examples if word.isalpha()):
        return " Its words are capitalised: words are looked up as they are and in lower case."
    return " Is it a file of another language?" if examples else ""


def _require_direction(
    study: Study, space: Space, name: str, dictionary: Dictionary, language: str, vocabulary: Sequence[str]
) -> None:
    """Stop where a dictionary is read backwards: the corpora's words are those of its other side."""
    known = {word.lower() for word in vocabulary}
    pivots, foreigns = ({word.lower() for word in side} for side in zip(*dictionary.pairs, strict=True))
    own, other = (pivots, foreigns) if language == space.pivot else (foreigns, pivots)
    hits, wrong = len((own - other) & known), len((other - own) & known)
    if wrong >= _EVIDENCE and wrong > 2 * hits:
        reversed_ = name in space.reversed_dictionaries
        action = "Take it out of" if reversed_ else "Name the language in"
        assert study.consistency is not None
        raise CorpusError(
            f"{study.data_path(space.dictionaries[name])}: the dictionary of `{name}` seems to be read backwards: of the words "
            f"of the corpora in `{language}`, {hits} stand on its side of `{language}` and {wrong} on the other. {action} "
            f"`spaces.{study.consistency.space}.reversed_dictionaries`."
        )


def _sub_tokens(context: Context, entries: Iterable[Entry]) -> pl.DataFrame:
    """Distinct sub-tokens that stand in words: `token` and its row of the embedding. UNK has no meaning of its own."""
    files = [context.warehouse.root / entry.file for entry in entries]
    return (
        pl.scan_parquet(files)
        .filter(~pl.col("is_special") & ~pl.col("is_unknown") & pl.col("word_index").is_not_null())
        .group_by("token")
        .agg(pl.col("token_id").min())
        .sort("token")
        .collect()
    )


def _dictionary(study: Study, space: Space, language: str) -> Dictionary:
    return read_dictionary(
        study.data_path(space.dictionaries[language]), foreign_first=language in space.reversed_dictionaries
    )
