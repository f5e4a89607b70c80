"""Run a tagger over what it is evaluated on, and store its logits word by word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from xlwh.steps.job import Frames, Job, Stored, options
from xlwh.steps.models.evaluated import CHUNK, TAGGING, evaluated
from xlwh.steps.planning import NotApplicable, Partition
from xlwh.steps.work import Pieced, Work
from xlwh.store import Slot, schema

if TYPE_CHECKING:
    from xlwh.models import LoadedModel


class _TokenPredictions(Pieced):
    version = "1"
    libraries = ("torch", "transformers", "tokenizers")
    at_once = CHUNK

    def jobs(self, partition: Partition) -> Iterable[Job]:
        """A job per tagged dataset."""
        model, language = partition.model, partition.language
        found = [corpus for corpus in evaluated(partition) if corpus.task == TAGGING]
        if not found:
            raise NotApplicable(f"`{model}` is evaluated on no tagged dataset in `{language}`.")
        if partition.pin(model).task != TAGGING:
            raise NotApplicable(f"`{model}` has no token classification head.")
        use = partition.use(model, "max_length", "labels", "dtype", "attention", "tagged_piece")
        for corpus in found:
            yield Job(
                {"token_predictions": Slot("token_predictions", (model, language), corpus.dataset)},
                reads=(corpus.entry,),
                model=use,
                name=corpus.dataset,
                together=f"{corpus.dataset}: tags",
            )

    def pieces(self, work: Work, jobs: Sequence[Job]) -> pl.DataFrame:
        """The examples."""
        return work.scan(jobs[0], "examples").select("example_id").collect()

    def make(self, work: Work, jobs: Sequence[Job], pieces: pl.DataFrame) -> Iterator[Sequence[Frames]]:
        """A row for every gold word: one that the tokenizer drops or that is cut off says so, and has no prediction."""
        from xlwh.models.labels import require_tags

        (job,) = jobs
        loaded = work.load(job, "predictions")
        # Of the whole dataset: some examples may have few tags.
        gold = work.scan(job, "examples").select(pl.col("word_labels").explode().drop_nulls().unique())
        tags, labels = gold.collect()["word_labels"].to_list(), loaded.labels or ()
        require_tags(loaded.key, labels, tags, f"dataset `{job.name}`")
        if unknown := sorted(set(tags) - set(labels)):
            work.tell(f"{job.name}: tags that the model does not have", unknown)
        yield [{"token_predictions": _predicted(work, loaded, job, work.pieces_of(job, "examples", pieces))}]

    def summary(self, job: Job, rows: Stored) -> Mapping[str, object]:
        """Token accuracy, and what became of the words."""
        frame = rows["token_predictions"].collect()
        known = frame.filter(pl.col("label").is_not_null())
        right = known.select((pl.col("predicted") == pl.col("label")).fill_null(value=False).mean()).item()
        return {
            job.name: {
                "words": frame.height,
                **dict(frame.group_by("status").len().sort("status").iter_rows()),
                "token_accuracy": None if right is None else round(right, 4),
            }
        }


STEP = _TokenPredictions()


def _predicted(work: Work, loaded: LoadedModel, job: Job, examples: pl.DataFrame) -> pl.DataFrame:
    """Rows of `token_predictions`, in the order of the examples and their words."""
    from xlwh.models.predict import predict_tokens, softmax
    from xlwh.models.tagging import TAGGED, word_places
    from xlwh.models.tokenize import KEYS, NONE, encode

    labels = np.array(loaded.labels, dtype=object)
    encoded = encode(loaded, examples)
    places = word_places(encoded, options(job)["tagged_piece"])
    (logits,) = predict_tokens(loaded, encoded, progress=work.within)
    sizes = np.diff(places.bounds)
    example = np.repeat(np.arange(len(encoded)), sizes)
    tagged = np.flatnonzero(places.status == TAGGED)
    chosen = logits[encoded.bounds[:-1][example[tagged]] + places.position[tagged]]
    answers = pl.DataFrame(
        {
            "row": tagged,
            "position": places.position[tagged],
            "predicted": labels[chosen.argmax(axis=1)].tolist(),
            "logits": chosen.tolist(),
            "probabilities": softmax(chosen).tolist(),
        },
        schema={
            "row": pl.Int64,
            **{
                name: dtype
                for name, dtype in schema("token_predictions").items()
                if name in ("position", "predicted", "logits", "probabilities")
            },
        },
    )
    assert NONE not in places.position[tagged]
    keys = encoded.keys[example]
    where = [word for words in encoded.occurrences for word in words]
    words = pl.DataFrame(
        {
            "model": pl.repeat(loaded.key, len(example), dtype=pl.String, eager=True),
            **{name: keys[name] for name in KEYS},
            "word_index": np.arange(len(example)) - np.repeat(places.bounds[:-1], sizes),
            "word": pl.Series([place.word for place in where], dtype=pl.String),
            "segment": pl.Series([place.segment for place in where], dtype=pl.Int32),
            "char_start": pl.Series([place.start for place in where], dtype=pl.Int32),
            "char_end": pl.Series([place.end for place in where], dtype=pl.Int32),
            "status": pl.Series(places.status.tolist(), dtype=pl.String),
            "label": pl.Series(_gold(examples), dtype=pl.String),
            "row": np.arange(len(example), dtype=np.int64),
        }
    )
    return words.join(answers, on="row", how="left", maintain_order="left")


def _gold(chunk: pl.DataFrame) -> list[str | None]:
    """The gold tag of every word; None for all words of an example without tags."""
    gold: list[str | None] = []
    for words, tags in chunk.select("words", "word_labels").iter_rows():
        gold += [None] * len(words) if tags is None else tags
    return gold
