"""Commands that look at concepts: show, near, cloud, export."""

from __future__ import annotations

import csv
from pathlib import Path

import click

from xlwh.cli.app import group, warehouse_option
from xlwh.cli.render import grid
from xlwh.store.files import replacing


@group(name="concept")
def concept() -> None:
    """Look at concepts: their words, sentences and neighbours.

    Names of clusterings: xlwh sql "select clustering from clusterings".
    """


_model = click.argument("model")
_clustering = click.argument("clustering")
_number = click.argument("number", type=click.IntRange(min=0), metavar="CONCEPT")


@concept.command()
@_model
@_clustering
@_number
@click.option(
    "--words", "num_words", type=click.IntRange(1), default=15, show_default=True, help="Per language."
)
@click.option(
    "--sentences", "num_sentences", type=click.IntRange(0), default=3, show_default=True, help="Per language."
)
@click.option(
    "--near", "num_near", type=click.IntRange(0), default=5, show_default=True, help="Nearest concepts."
)
@warehouse_option
def show(
    model: str,
    clustering: str,
    number: int,
    num_words: int,
    num_sentences: int,
    num_near: int,
    root: Path,
) -> None:
    """Members, languages, kind, example sentences, nearest concepts and evidence of one concept."""
    import polars as pl

    from xlwh.concepts import browse
    from xlwh.concepts.neighbours import nearest_concepts
    from xlwh.store import Warehouse

    warehouse = Warehouse(root)
    chosen = browse.choose(warehouse, model, clustering, number)
    run, members = chosen.clustering, chosen.members
    labels = warehouse.scan("concept_labels", model=model, clustering=clustering)
    named = labels.filter(pl.col("concept") == number).collect()["label"]
    click.echo(f"Concept {number} of {clustering}" + "".join(f', "{label}"' for label in named))
    click.echo(
        f"{members.height} of {run['num_points']} words; {run['scope']}, {run['stack']} layer {run['layer']}"
    )
    _kind(warehouse.scan("concept_kinds", model=model, clustering=clustering), number)
    shares = (
        members.group_by("language").agg(words=pl.len(), types=pl.col("word").n_unique()).sort("language")
    )
    _print(shares.with_columns(share=pl.col("words") / members.height), "Languages")
    _print(browse.words(members, num_words), "Words")
    if num_sentences:
        _print(browse.sentences(warehouse, members, num_sentences), "Sentences, nearest to the centre first")
    _print(nearest_concepts(warehouse, chosen, num_near), "Nearest concepts")
    if str(run["scope"]).startswith("monolingual:"):
        _evidence(root, model, clustering, number)


def _kind(kinds: object, number: int) -> None:
    import polars as pl

    assert isinstance(kinds, pl.LazyFrame)
    for row in kinds.filter(pl.col("concept") == number).collect().to_dicts():
        if row["affix"] is not None:
            click.echo(
                f"{row['affix_kind']} {row['affix']!r}: {row['affix_types']} of {row['num_types']} types, "
                f"p = {row['affix_p']:.2g}"
            )
        for name in ("pos", "entity"):
            if row[name] is not None:
                tagged = row[f"num_{name}_tagged"]
                click.echo(
                    f"{row[name]}: {row[f'{name}_tokens'] / tagged:.0%} of {tagged} tagged words "
                    f"(everywhere: {row[f'{name}_base_rate']:.0%})"
                )


def _evidence(root: Path, model: str, clustering: str, number: int) -> None:
    """Concepts of other languages that it is aligned with, and through which words."""
    from contextlib import closing

    from xlwh.store.opening import connect

    query = (
        "select target_language, target_concept, source_word, target_word, rank from calign_matches "
        "where model = ? and source_clustering = ? and source_concept = ? and variant = 'strict' "
        "order by target_language, target_concept, source_occurrences desc, rank limit 30"
    )
    with closing(connect(root)) as connection:
        rows = connection.execute(query, [model, clustering, number]).fetchall()
        if rows:
            click.echo("Aligned concepts, and the words that match")
            grid(["language", "concept", "word", "translation", "rank"], rows)


@concept.command()
@_model
@click.argument("word")
@click.option("--language", required=True, help="Language of WORD.")
@click.option("--dataset", required=True, help="Dataset whose words are compared.")
@click.option("--layer", type=click.IntRange(0), required=True, help="Layer, 0 the embeddings.")
@click.option("--stack", type=click.Choice(["encoder", "decoder"]), default="encoder", show_default=True)
@click.option(
    "--convention",
    type=click.Choice(["consumed", "predicting"]),
    default="consumed",
    show_default=True,
    help="Of decoders.",
)
@click.option("--to", "targets", multiple=True, help="Only words of this language; may be repeated.")
@click.option("--limit", type=click.IntRange(1), default=8, show_default=True, help="Words per language.")
@warehouse_option
def near(
    model: str,
    word: str,
    language: str,
    dataset: str,
    layer: int,
    stack: str,
    convention: str,
    targets: tuple[str, ...],
    limit: int,
    root: Path,
) -> None:
    """Nearest words to WORD in every language, by the mean of its vectors in one layer."""
    from xlwh.concepts.neighbours import WordIndex
    from xlwh.concepts.places import Place
    from xlwh.store import Warehouse

    place = Place("encoder", layer) if stack == "encoder" else Place("decoder", layer, convention)  # type: ignore[arg-type]
    index = WordIndex.load(Warehouse(root), model, dataset, place)
    _print(index.near(word, language, limit, targets or None), f"Nearest to {word} ({language}) at {place}")


@concept.command()
@_model
@_clustering
@_number
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@warehouse_option
def cloud(model: str, clustering: str, number: int, out: Path, root: Path) -> None:
    """Draw a concept's words into OUT (.png, .svg or .pdf), a colour per language."""
    from xlwh.concepts import browse
    from xlwh.concepts.cloud import draw
    from xlwh.store import Warehouse

    chosen = browse.choose(Warehouse(root), model, clustering, number)
    missing = draw(browse.words(chosen.members), out, f"concept {number} of {clustering}")
    click.echo(f"Wrote {out}", err=True)
    if missing:
        click.echo(f"No installed font for the script of: {', '.join(missing)}", err=True)


@concept.command()
@_model
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--clustering", help="Only this clustering.")
@click.option(
    "--words", "num_words", type=click.IntRange(1), default=20, show_default=True, help="Per concept."
)
@warehouse_option
def export(model: str, out: Path, clustering: str | None, num_words: int, root: Path) -> None:
    """Write concepts and their words to a CSV file with an empty column `label`, for somebody to name them.

    Filled in, it is read back as `concepts.labels` of the study.
    """
    import polars as pl

    from xlwh.concepts.labels import COLUMNS
    from xlwh.store import Warehouse

    warehouse = Warehouse(root)
    members = warehouse.scan("concept_members", model=model)
    if clustering is not None:
        members = members.filter(pl.col("clustering") == clustering)
    labels = warehouse.scan("concept_labels", model=model).collect()
    counted = (
        members.group_by("clustering", "concept", "language", "word")
        .agg(occurrences=pl.len())
        .sort(["clustering", "concept", "occurrences", "word"], descending=[False, False, True, False])
        .group_by("clustering", "concept", maintain_order=True)
        .agg(words=(pl.col("language") + ":" + pl.col("word")).head(num_words).str.join(" "))
        .collect()
    )
    known = counted.join(labels, on=["clustering", "concept"], how="left", maintain_order="left")
    with replacing(out) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "words"])
        for row in known.to_dicts():
            told = [row["label"] or "", row["author"] or "", row["note"] or "", row["words"]]
            writer.writerow([model, row["clustering"], row["concept"], *told])
    click.echo(f"Wrote {known.height:,} concepts to {out}", err=True)


def _print(frame: object, title: str) -> None:
    import polars as pl

    assert isinstance(frame, pl.DataFrame)
    if frame.height:
        click.echo(title)
        grid(frame.columns, frame.rows())
