"""A generated warehouse of any size: parallel texts in six scripts, attributions, vectors, consistency.

Nothing in it means anything, but it hangs together: offsets fit the texts, attributions fit the tokens, and with
`solve` the stored scores are those of the stored weights. The first example of each language holds hostile words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from xlwh.consistency.pairs import ccta_pairs, explained, unit_attributions, vectors
from xlwh.store import Slot, Warehouse, schema

LETTERS = {
    "en": "abcdefghiklmnoprstuvw",
    "de": "abcdefghiklmnoprstuäöü",
    "ar": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "hi": "कखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह",
    "th": "กขคงจฉชซญดตถทธนบปผพภมยรลวสหอ",
    "zh": "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年",
    "ru": "абвгдежзиклмнопрстуфхцчшщыэюя",
    "es": "abcdefghijlmnñopqrstuvz",
    "fr": "abcdefghijlmnopqrstuvéèà",
    "sw": "abchdefgijklmnoprstuwyz",
}
HOSTILE = (
    "<script>document.title='pwned'</script>",
    "<img src=x onerror=document.title='pwned'>",
    '=HYPERLINK("http://example.invalid")',
    "bell\x07",
    "\u202eevil",
    "&lt;b&gt;'\"",
)
CLASSES = ["contradiction", "entailment", "neutral"]
DATASET, SPLIT, SPACE = "nli", "dev", "vectors"
DIMENSION = 32


def build(
    root: Path,
    *,
    models: tuple[str, ...] = ("alpha", "beta"),
    languages: tuple[str, ...] = ("en", "de", "ar", "hi", "th"),
    examples: int = 12,
    words: int = 12,
    methods: tuple[str, ...] = ("lig", "random"),
    vocabulary: int = 300,
    solve: bool = True,
    seed: int = 0,
) -> Warehouse:
    """Write it; the first language is the source. About 1.6 sub-tokens a word, two segments, three special tokens."""
    warehouse = Warehouse(root, create=True)
    rng = np.random.default_rng(seed)
    concepts = rng.integers(len(HOSTILE), vocabulary, size=(examples, words))
    concepts[0, : min(words, len(HOSTILE))] = np.arange(min(words, len(HOSTILE)))
    meaning = rng.normal(size=(vocabulary, DIMENSION))
    gold = rng.integers(0, 3, size=examples)
    weight_of = rng.gamma(0.4, size=vocabulary) * rng.choice([-1, 1], size=vocabulary)
    ids = [f"{number:06d}" for number in range(examples)]
    tokens = {}
    for number, language in enumerate(languages):
        known = _vocabulary(language, vocabulary, rng)
        pieces = _pieces(known)
        tokens[language], texts = _texts(ids, concepts, known, pieces)
        vectors_ = meaning + rng.normal(size=meaning.shape) * (0.3 + 0.25 * number)
        frames = {
            Slot("examples", (DATASET, language), SPLIT): _examples(language, ids, texts, gold),
            Slot("word_vectors", (SPACE, language)): _vectors(language, known, vectors_),
        }
        warehouse.write(frames, "f")
    warehouse.write({Slot("models", (model,)): _model(model) for model in models}, "f")
    for model in models:
        source = {}
        for number, language in enumerate(languages):
            noise = 0.5 + 0.15 * number
            logits = rng.normal(size=(examples, 3)) * noise
            logits[np.arange(examples), gold] += 1.2
            here = tokens[language]
            frames = {
                Slot("tokens", (model, language), DATASET): _rows(
                    "tokens", here.drop("concept"), model, language
                ),
                Slot("predictions", (model, language), DATASET): _predictions(
                    model, language, ids, gold, logits
                ),
            }
            if number == 0:
                source = dict(zip(ids, (CLASSES[c] for c in logits.argmax(axis=1)), strict=True))
            explained_class = pl.DataFrame({"example_id": ids, "target": [source[i] for i in ids]})
            for method in methods:
                frames |= _attributions(model, language, here, explained_class, method, weight_of, noise, rng)
            warehouse.write(frames, "f")
        for language in languages:
            pairs = (
                _solved(warehouse, model, languages[0], language, methods)
                if solve
                else _random_pairs(model, languages[0], language, methods, ids, source, rng)
            )
            warehouse.write({Slot("ccta_pairs", (model, language), DATASET): pairs}, "f")
            warehouse.write(_heads(model, language, ids, tokens[language]), "f")
    warehouse.build_catalogue()
    return warehouse


def _vocabulary(language: str, size: int, rng: np.random.Generator) -> list[str]:
    letters = list(LETTERS[language])
    found: dict[str, None] = dict.fromkeys(HOSTILE)
    while len(found) < size:
        found["".join(rng.choice(letters, size=int(rng.integers(2, 9))))] = None
    return list(found)


def _pieces(known: list[str]) -> pl.DataFrame:
    rows = []
    for concept, word in enumerate(known):
        cut = len(word) // 2 if len(word) >= 5 else len(word)
        for start, end in ((0, cut), (cut, len(word))):
            if end > start:
                rows.append((concept, word, ("" if start == 0 else "##") + word[start:end], start, end))
    columns = {"concept": pl.Int64, "word": pl.String, "token": pl.String, "from": pl.Int32, "to": pl.Int32}
    return pl.DataFrame(rows, schema=columns, orient="row")


def _texts(
    ids: list[str], concepts: np.ndarray, known: list[str], pieces: pl.DataFrame
) -> tuple[pl.DataFrame, list[list[str]]]:
    examples, words = concepts.shape
    half = words // 2
    lengths = np.array([len(word) for word in known])[concepts]
    starts = np.zeros_like(lengths)
    for part in (slice(0, half), slice(half, words)):
        starts[:, part] = np.cumsum(lengths[:, part] + 1, axis=1) - lengths[:, part] - 1
    frame = pl.DataFrame(
        {
            "example_id": np.repeat(np.array(ids, dtype=object), words).tolist(),
            "word_index": np.tile(np.arange(words, dtype=np.int32), examples),
            "concept": concepts.ravel(),
            "begin": starts.ravel().astype(np.int32),
        }
    ).with_columns(segment=(pl.col("word_index") >= half).cast(pl.Int32))
    cut = (
        frame.join(pieces, on="concept")
        .sort("example_id", "word_index", "from")
        .with_columns(
            position=(pl.int_range(pl.len(), dtype=pl.Int32).over("example_id") + 1 + pl.col("segment")),
            char_start=pl.col("begin") + pl.col("from"),
            char_end=pl.col("begin") + pl.col("to"),
            word_start=pl.col("begin"),
            word_end=pl.col("begin") + pl.col("word").str.len_chars().cast(pl.Int32),
            is_special=pl.lit(False),
        )
    )
    last = cut.group_by("example_id").agg(
        pl.col("position").filter(pl.col("segment") == 0).max().alias("first"),
        pl.col("position").max().alias("last"),
    )
    special = pl.concat(
        last.select("example_id", position=(place).cast(pl.Int32), token=pl.lit(name))
        for place, name in (
            (pl.lit(0), "[CLS]"),
            (pl.col("first") + 1, "[SEP]"),
            (pl.col("last") + 1, "[SEP]"),
        )
    ).with_columns(is_special=pl.lit(True), concept=pl.lit(0, dtype=pl.Int64))
    both = pl.concat([cut, special], how="diagonal").sort("example_id", "position")
    tokens = both.select(
        "example_id", "position", "segment", "word_index", "word", "token", "word_start", "word_end",
        "char_start", "char_end", "is_special", "concept", token_id=pl.col("concept").cast(pl.Int32), is_unknown=pl.lit(False), segmenter=pl.lit("blanks"),
    )  # fmt: skip
    spelled = [
        [" ".join(known[c] for c in row[:half]), " ".join(known[c] for c in row[half:])] for row in concepts
    ]
    return tokens, spelled


def _rows(table: str, frame: pl.DataFrame, model: str, language: str) -> pl.DataFrame:
    """A frame with the columns that every row of a partition shares, in the contract's order and types."""
    shared = {"model": model, "dataset": DATASET, "split": SPLIT, "language": language}
    columns = schema(table)
    added = [pl.lit(value).alias(name) for name, value in shared.items() if name in columns]
    full = frame.with_columns(added)
    absent = [
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in columns.items() if name not in full.columns
    ]
    return full.with_columns(absent).select(pl.col(name).cast(dtype) for name, dtype in columns.items())


def _examples(language: str, ids: list[str], texts: list[list[str]], gold: np.ndarray) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "example_id": ids,
            "task": "sentence_pair",
            "text": [first for first, _ in texts],
            "text_pair": [second for _, second in texts],
            "label": [CLASSES[c] for c in gold],
            "source_file": "generated",
            "row_number": range(len(ids)),
        }
    )
    return _rows("examples", frame, "", language)


def _vectors(language: str, known: list[str], found: np.ndarray) -> pl.DataFrame:
    frame = pl.DataFrame({"word": known, "matched": known, "vector": found.astype(np.float32).tolist()})
    return _rows(
        "word_vectors", frame.with_columns(space=pl.lit(SPACE), alignment=pl.lit("given")), "", language
    )


def _model(model: str) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "kind": "path", "source": "generated", "family": "bert", "task": "sequence_classification",
            "labels": [CLASSES], "weight_hash": "0" * 64, "tokenizer_hash": "0" * 64, "num_layers": 2,
            "num_heads": 2, "hidden_size": 32, "vocab_size": 300, "num_parameters": 1000, "dtype": "float32",
        }
    )  # fmt: skip
    return _rows("models", frame, model, "")


def _predictions(
    model: str, language: str, ids: list[str], gold: np.ndarray, logits: np.ndarray
) -> pl.DataFrame:
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pl.DataFrame(
        {
            "example_id": ids,
            "task": "sentence_pair",
            "label": [CLASSES[c] for c in gold],
            "predicted": [CLASSES[c] for c in logits.argmax(axis=1)],
            "logits": logits.astype(np.float32).tolist(),
            "probabilities": shares.astype(np.float32).tolist(),
            "num_tokens": 20,
            "num_truncated": 0,
        }
    )
    return _rows("predictions", frame, model, language)


def _heads(model: str, language: str, ids: list[str], tokens: pl.DataFrame) -> dict[Slot, pl.DataFrame]:
    """Marginals of 2 x 2 heads over 32 permutations, and the attention of these heads on two examples."""
    rng = np.random.default_rng(len(tokens))
    samples = pl.DataFrame(
        [
            {"permutation": n, "example_id": ids[n % len(ids)], "layer": layer, "head": head, "remaining": 2}
            for n in range(32)
            for layer in range(2)
            for head in range(2)
        ]
    ).with_columns(sampler=pl.lit("rows"), estimator=pl.lit("permutation"), unit=pl.lit("head"))
    worth = np.tile([0.4, 0.1, 0.0, -0.2], 32) + rng.normal(0, 0.2, size=samples.height)
    maps = []
    for number in ids[:2]:
        shown = tokens.filter(pl.col("example_id") == number)
        for layer, head in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weights = rng.dirichlet(np.full(shown.height, 0.1), size=shown.height)
            own = {"example_id": number, "layer": layer, "head": head, "tokens": shown["token"].to_list()}
            maps.append(
                {**own, "is_special": shown["is_special"].to_list(), "weights": weights.ravel().tolist()}
            )
    marginals = samples.with_columns(marginal=pl.Series(worth.clip(-1, 1)))
    return {
        Slot("head_samples", (model, language), f"{DATASET}.rows.000000"): _rows(
            "head_samples", marginals, model, language
        ),
        Slot("attention_maps", (model, language), DATASET): _rows(
            "attention_maps", pl.DataFrame(maps), model, language
        ),
    }


def _attributions(
    model: str,
    language: str,
    tokens: pl.DataFrame,
    target: pl.DataFrame,
    method: str,
    weight_of: np.ndarray,
    noise: float,
    rng: np.random.Generator,
) -> dict[Slot, pl.DataFrame]:
    values = rng.normal(size=tokens.height)
    if method != "random":
        values = weight_of[tokens["concept"].to_numpy()] * (1 + noise * values)
    frame = (
        tokens.select("example_id", "position", attribution=pl.Series(values * 0.3))
        .join(target, on="example_id", maintain_order="left")
        .with_columns(method=pl.lit(method))
    )
    runs = target.with_columns(
        method=pl.lit(method), f_input=pl.lit(1.0), relative_delta=pl.lit(0.004), converged=pl.lit(True),
        num_gradient_rows=pl.lit(40), num_forward_rows=pl.lit(9), parameters=pl.lit("{}"),
    )  # fmt: skip
    part = f"{DATASET}.{method}"
    return {
        Slot("token_attributions", (model, language), part): _rows(
            "token_attributions", frame, model, language
        ),
        Slot("attribution_runs", (model, language), part): _rows("attribution_runs", runs, model, language),
    }


_SETTING = {
    "dataset": DATASET, "target_policy": "source_prediction", "space": SPACE, "unit": "word", "alignment": "given",
}  # fmt: skip


def _solved(
    warehouse: Warehouse, model: str, source: str, target: str, methods: tuple[str, ...]
) -> pl.DataFrame:
    sides = []
    for language in (source, target):
        units = unit_attributions(
            warehouse.scan("tokens", model=model, language=language),
            warehouse.scan("token_attributions", model=model, language=language),
            "word",
        )
        known = warehouse.scan("word_vectors", space=SPACE, language=language).collect()
        sides.append((units, vectors(known)))
    classes = sides[0][0].select("split", "example_id", "target", explained="target").unique()
    scored = ccta_pairs(
        explained(sides[0][0], classes),
        explained(sides[1][0], classes),
        sides[0][1],
        sides[1][1],
        normalizations=["abs"],
        draws=5,
        seed=0,
        identical=source == target,
        workers=1,
    )
    return _pairs(scored, model, source, target)


def _random_pairs(
    model: str,
    source: str,
    target: str,
    methods: tuple[str, ...],
    ids: list[str],
    classes: dict[str, str],
    rng: np.random.Generator,
) -> pl.DataFrame:
    n = len(ids) * len(methods)
    score = rng.uniform(0.2, 0.6, size=n)
    frame = pl.DataFrame(
        {
            "example_id": ids * len(methods),
            "method": np.repeat(np.array(methods, dtype=object), len(ids)).tolist(),
            "target": [classes[i] for i in ids] * len(methods),
            "score": score,
            "null_uniform": score + 0.02,
            "null_shuffled": np.clip(score + rng.normal(-0.04, 0.05, size=n), 0, 1),
        }
    ).with_columns(
        split=pl.lit(SPLIT), normalization=pl.lit("abs"), null_shuffled_sd=pl.lit(0.05), num_draws=pl.lit(20),
        source_units=pl.lit(12), target_units=pl.lit(12), source_coverage=pl.lit(1.0), target_coverage=pl.lit(1.0),
        degenerate=pl.lit(False),
    )  # fmt: skip
    return _pairs(frame, model, source, target)


def _pairs(frame: pl.DataFrame, model: str, source: str, target: str) -> pl.DataFrame:
    constants = {**_SETTING, "source_language": source, "target_language": target}
    return _rows(
        "ccta_pairs",
        frame.with_columns(pl.lit(value).alias(name) for name, value in constants.items()),
        model,
        target,
    )
