"""What each architecture can do, each thing against plain transformers and torch: the table of docs/models.md.

`python tests/capabilities.py` writes it into the page; the tests compare the page with what they find. A capability
passes or is refused by name (ModelError); whatever else is wrong fails the test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from architectures import ALL, WITHOUT_CLASSIFIER

from xlwh.attribution.base import Attribution, Item
from xlwh.attribution.methods import METHODS, shared_pass
from xlwh.attribution.vectors import explained
from xlwh.errors import ModelError
from xlwh.heads.attention import attention_maps
from xlwh.heads.engine import engine_on
from xlwh.heads.export import load_pruned, save_pruned
from xlwh.heads.players import Player
from xlwh.heads.sampler import sample_round
from xlwh.models.attentions import eager_attention
from xlwh.models.batches import collate
from xlwh.models.finetune import Job, finetune
from xlwh.models.gates import gated, open_gates
from xlwh.models.loaded import LoadedModel
from xlwh.models.loading import load_checkpoint, load_trainable
from xlwh.models.pins import Pin
from xlwh.models.predict import predict
from xlwh.models.tokenize import encode
from xlwh.selftest.case import CLASSIFIER, Case, NotApplicable
from xlwh.selftest.checks import CHECKS
from xlwh.study import Finetune, Model, Sampler
from xlwh.study.attribution import Methods

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
START, END = "<!-- capabilities: begin -->", "<!-- capabilities: end -->"
LABELS = ("contradiction", "entailment", "neutral")
PARAMETERS: dict[str, dict[str, Any]] = {
    "lig": {"tolerance": 0.02, "max_rows": 2048},
    "integrated_gradients": {"tolerance": 0.02, "max_rows": 2048},
    "integrated_gradients_mask": {"tolerance": 0.02, "max_rows": 2048},
    "lig_fixed": {"steps": 8},
    "gradient_shap": {"samples": 4},
    "random": {"draws": 2},
}


@dataclass
class Tried:
    """An architecture on a few examples."""

    pin: Pin
    loaded: LoadedModel
    examples: pl.DataFrame
    """Pairs of a classifier, and single texts of others."""
    folder: Path
    """Where things may be written."""

    @cached_property
    def case(self) -> Case:
        """The examples as every step encodes them."""
        return Case(self.loaded, self.examples)

    @property
    def classifies(self) -> bool:
        """Whether it has a classifier."""
        return self.loaded.task == CLASSIFIER

    def require_classifier(self) -> None:
        """NotApplicable without one."""
        if not self.classifies:
            raise NotApplicable("transformers has no classifier of it")

    def inputs(self, row: int) -> dict[str, torch.Tensor]:
        """One example alone, without padding."""
        return self.case.batch([row]).inputs(self.loaded)

    def passed(self, *items: str) -> None:
        """AssertionError unless items of the self-test pass."""
        for item in items:
            found = CHECKS[item](self.case)
            assert found.passed, (item, found)


def predictions(tried: Tried) -> None:
    """Outputs of each example alone and in a batch, from ids alone: transformers' own."""
    tried.passed("own_forward", "batched", f"padded_{tried.loaded.family.padding_side}")


def fine_tuning(tried: Tried) -> None:
    """Every weight has a gradient and is trained; the checkpoint is read back with the same outputs."""
    tried.require_classifier()
    options = Model(path="base")
    recipe = Finetune(
        base="base",
        dataset="nli",
        languages=("en",),
        epochs=2,
        batch_size=4,
        learning_rate=1e-3,
        max_length=48,
    )
    bases: list[LoadedModel] = []

    def base() -> LoadedModel:
        bases.append(load_trainable(tried.pin, options, torch.device("cpu"), LABELS, recipe.seed))
        return bases[-1]

    before = {name: weight.detach().clone() for name, weight in base().model.named_parameters()}
    folder = tried.folder / "tuned" / "0"
    job = Job(
        "m", recipe, "sentence_pair", LABELS, tried.examples, tried.examples, tried.folder / "work", folder
    )
    record = finetune(job, base)
    assert record["train_steps"] == 2 * -(-len(tried.examples) // 4)
    trained = dict(bases[-1].model.named_parameters())
    unmoved = [name for name, weight in trained.items() if torch.equal(weight, before[name])]
    unread = (*UNREAD.get(tried.pin.model_type, ()),)
    assert not [name for name in unmoved if not name.endswith(unread)] if unread else not unmoved, unmoved
    from xlwh.digests import HashCache
    from xlwh.models.pins import pin_folder

    pin = pin_folder("m", "finetuned", "base", None, folder, HashCache(tried.folder / "hashes.sqlite"))
    again = load_checkpoint(pin, options, torch.device("cpu"))
    bases[-1].model.eval()
    ours = predict(again, encode(again, tried.examples))
    theirs = predict(bases[-1], encode(bases[-1], tried.examples))
    assert again.labels == LABELS
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


UNREAD: dict[str, tuple[str, ...]] = {
    # The bias of keys moves all scores of a query alike.
    **dict.fromkeys(
        ("bert", "electra", "ernie", "rembert", "albert", "roberta", "xlm-roberta", "camembert"),
        ("key.bias",),
    ),
}
"""Ends of the names of weights that no loss depends on, up to rounding."""


def method(name: str) -> Callable[[Tried], None]:
    """An attribution method; its values against the definition where it has one that fits into a few lines."""

    def attributed(tried: Tried) -> None:
        if name.startswith("released") and not tried.classifies:
            raise NotApplicable("for classifiers")
        loaded, encoded, items = tried.loaded, tried.case.encoded, tried.case.explained()
        parameters = Methods.model_validate({name: PARAMETERS.get(name, {})})
        made = shared_pass(METHODS[name], [name], Path())(
            loaded, encoded, items, {name: getattr(parameters, name)}, 1024
        )
        found = {index: each[name] for index, each in made}
        assert sorted(found) == list(range(len(items)))
        for index, item in enumerate(items):
            _valid(name, tried, item, found[index])

    return attributed


def _valid(name: str, tried: Tried, item: Item, found: Attribution) -> None:
    loaded, encoded = tried.loaded, tried.case.encoded
    assert np.isfinite(found.values).all()
    assert len(found.values) == encoded.lengths[item.example]
    assert np.abs(found.values).max() > 0
    batch = tried.case.batch([item.example])
    with torch.no_grad():
        whole = float(explained(loaded, batch, loaded.model(**batch.inputs(loaded)), [item])[0])
    if found.f_input is not None:
        assert abs(found.f_input - whole) <= 1e-4 * max(1, abs(whole))
    if name in ("lig", "integrated_gradients", "integrated_gradients_mask"):
        assert found.delta is not None
        assert found.f_baseline is not None
        assert abs(found.delta) <= 0.02 * max(abs(whole - found.f_baseline), 0.05 * abs(whole)), name
    elif name == "input_x_gradient":
        np.testing.assert_allclose(found.values, _input_x_gradient(tried, item), rtol=1e-3, atol=1e-5)
    elif name == "attention":
        np.testing.assert_allclose(found.values.sum(), 1, atol=1e-4)
    elif name == "occlusion":
        np.testing.assert_allclose(found.values, _occluded(tried, item, whole), rtol=1e-3, atol=1e-4)


def _with_vectors(tried: Tried, item: Item, vectors: torch.Tensor) -> torch.Tensor:
    """The output that is explained, from word vectors put in by a hook of its own."""
    loaded, batch = tried.loaded, tried.case.batch([item.example])
    module = loaded.family.word_embedding(loaded.model)
    handle = module.register_forward_hook(lambda *_: vectors)
    try:
        return explained(loaded, batch, loaded.model(**batch.inputs(loaded)), [item])[0]
    finally:
        handle.remove()


def _vectors(tried: Tried, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return tried.loaded.family.word_embedding(tried.loaded.model)(ids)


def _input_x_gradient(tried: Tried, item: Item) -> np.ndarray:
    vectors = _vectors(tried, tried.case.batch([item.example]).input_ids).requires_grad_(True)
    (slope,) = torch.autograd.grad(_with_vectors(tried, item, vectors), vectors)
    return (slope * vectors).sum(-1)[0].detach().numpy()


def _occluded(tried: Tried, item: Item, whole: float) -> np.ndarray:
    ids = tried.case.batch([item.example]).input_ids
    special = tried.case.encoded.special[tried.case.encoded.row(item.example)]
    mask = tried.loaded.tokenizer.mask_token_id
    values = np.zeros(ids.shape[1])
    for place in np.flatnonzero(~special):
        shown = ids.clone()
        shown[0, place] = tried.loaded.tokenizer.pad_token_id if mask is None else mask
        with torch.no_grad():
            values[place] = whole - float(_with_vectors(tried, item, _vectors(tried, shown)))
    return values


def perturbations(tried: Tried) -> None:
    """Perturbations that change nothing change nothing; word vectors are read where they are replaced."""
    tried.require_classifier()
    tried.passed("p_full", "word_vectors")


def activations(tried: Tried) -> None:
    """Hidden states of every layer: transformers' own."""
    tried.passed("hidden_states")


def gates(tried: Tried) -> None:
    """Open gates change nothing; a closed one is the head's output zeroed by a plain hook, block by block."""
    tried.passed("gates")
    loaded, inputs = tried.loaded, tried.inputs(0)
    for index, site in enumerate(loaded.family.attention_sites(loaded.model)):
        calls = [0]

        def zero(_: Any, arguments: tuple[Any, ...], site: Any = site, calls: list[int] = calls) -> Any:
            calls[0] += 1
            if calls[0] != site.call.number + 1:
                return None
            heads = arguments[0].clone()
            heads[..., site.head_size : 2 * site.head_size] = 0
            return heads, *arguments[1:]

        closed = open_gates(loaded.model)
        closed[0, index, 1] = 0
        with torch.inference_mode():
            with gated(loaded.model, closed):
                ours = loaded.model(**inputs)[0]
            handle = site.output.register_forward_pre_hook(zero)
            theirs = loaded.model(**inputs)[0]
            handle.remove()
            plain = loaded.model(**inputs)[0]
            with gated(loaded.model, open_gates(loaded.model)):
                opened = loaded.model(**inputs)[0]
        assert calls[0] == site.call.of
        scale = 1e-5 * max(1, float(theirs.abs().max()))
        assert (ours - theirs).abs().max() <= scale
        assert (opened - plain).abs().max() <= scale


def head_values(tried: Tried) -> None:
    """Samples of a game: along one order of removal they add up to what all heads together are worth."""
    tried.require_classifier()
    loaded = tried.loaded
    tried.passed("head_engine")
    engine = engine_on(loaded, tried.examples, ("head",), measure="probability")
    sampler = Sampler(truncation=0.0, antithetic=False)
    ids = tried.examples["example_id"].to_list()
    sampled = sample_round(engine, sampler, 0, 0, np.ones(len(engine.players), dtype=bool), ids)
    assert len(sampled)
    order = int(sampled.permutation[0])
    own = sampled.permutation == order
    example = int(sampled.example[own][0])
    batch = collate(loaded, engine._encoded, np.array([example]), int(engine._encoded.lengths[example]))
    gold = int(engine.gold.classes[example])
    with torch.inference_mode():
        whole = loaded.model(**batch.inputs(loaded)).logits[0].softmax(-1)[gold]
        with gated(loaded.model, 0 * open_gates(loaded.model)):
            none = loaded.model(**batch.inputs(loaded)).logits[0].softmax(-1)[gold]
    assert abs(sampled.value[own].sum() - float(whole - none)) <= 1e-4


def maps_of_attention(tried: Tried) -> None:
    """Whole matrices, against the weights that transformers returns."""
    tried.passed("attention_weights")
    loaded, row = tried.loaded, 1
    encoded = tried.case.encoded
    found = attention_maps(loaded, tried.examples.slice(row, 1))
    with torch.inference_mode(), eager_attention(loaded.model):
        output = loaded.model(**tried.inputs(row), output_attentions=True)
    own = getattr(output, "encoder_attentions", None) or output.attentions
    length = int(encoded.lengths[row])
    assert found.height == len(own) * own[0].shape[1]
    for layer, head, weights in found.select("layer", "head", "weights").iter_rows():
        site = layer
        expected = own[site][0, head].float().numpy()
        np.testing.assert_allclose(np.array(weights).reshape(length, length), expected, atol=2e-3)


def export(tried: Tried) -> None:
    """A checkpoint without some heads computes what closed gates do, also after a way over the disk."""
    loaded = tried.loaded
    heads = (Player("head", 0, 1), Player("head", 1, 0), Player("head", 1, 3))
    save_pruned(loaded, heads, tried.folder / "pruned")
    pruned = load_pruned(tried.folder / "pruned")
    closed = open_gates(loaded.model)
    for head in heads:
        closed[0, head.layer, head.head] = 0
    inputs = tried.inputs(0)
    with torch.inference_mode():
        ours = pruned(**inputs)[0]
        with gated(loaded.model, closed):
            theirs = loaded.model(**inputs)[0]
    assert (ours - theirs).abs().max() <= 1e-4 * max(1, float(theirs.abs().max()))


CAPABILITIES: dict[str, Callable[[Tried], None]] = {
    "predictions": predictions,
    "fine-tuning": fine_tuning,
    **{name: method(name) for name in METHODS},
    "perturbations": perturbations,
    "activations": activations,
    "gates": gates,
    "head values": head_values,
    "attention maps": maps_of_attention,
    "export": export,
}
"""Columns of the table."""


def row_of(tried: Tried) -> dict[str, str | None]:
    """Of each capability None where it works, else why there is none of it."""
    found: dict[str, str | None] = {}
    for name, run in CAPABILITIES.items():
        try:
            run(tried)
            found[name] = None
        except NotApplicable:
            found[name] = "–"
        except ModelError as error:
            found[name] = " ".join(str(error).removeprefix("Model `m`: ").split())
    return found


def table(rows: Mapping[str, Mapping[str, str | None]]) -> str:
    """The table in Markdown, with a note for each kind of refusal."""
    lines = [
        f"| architecture | {' | '.join(CAPABILITIES)} |",
        f"|---|{'|'.join(':-:' for _ in CAPABILITIES)}|",
    ]
    notes: dict[str, None] = {}
    for model_type, row in rows.items():
        marks = {None: "✓", "–": "–"}
        lines.append(f"| {model_type} | {' | '.join(marks.get(row[name], '✗') for name in CAPABILITIES)} |")
        reasons: dict[str, list[str]] = {}
        for name, reason in row.items():
            if reason not in marks:
                told = str(reason).replace(f"Model `m` ({model_type})", "The model")
                reasons.setdefault(told, []).append(name)
        # A reason that several architectures have is told once.
        notes |= dict.fromkeys(f"- {', '.join(names)}: {reason}" for reason, names in reasons.items())
    return "\n".join([*lines, "", *notes])


def in_page() -> list[str]:
    """The lines of the table that the page has."""
    return PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0].strip().splitlines()


def tried(model_type: str, folder: Path) -> Tried:
    """A tiny checkpoint of an architecture, and examples for it."""
    from types import SimpleNamespace

    sys.path.insert(0, str(Path(__file__).parent / "unit"))
    from conftest import TEXTS, examples_frame, make_checkpoint

    from xlwh.digests import HashCache
    from xlwh.models import Zoo
    from xlwh.study import Study

    path = make_checkpoint(model_type, folder / "model")
    study = Study.model_validate(
        {
            "name": "table",
            "languages": ["en"],
            "datasets": {"nli": {"reader": "xnli", "path": "nli"}},
            "models": {"m": {"path": str(path), "datasets": ["nli"]}},
            "folder": folder,
        }
    )
    warehouse: Any = SimpleNamespace(root=folder / "warehouse", hashes=HashCache.of(folder / "warehouse"))
    zoo = Zoo(study, warehouse, device="cpu")
    pairs = [(TEXTS[1], "cat"), (TEXTS[2], TEXTS[3][:9]), ("the cat", "Hund"), (TEXTS[0][:30], TEXTS[1])]
    alone = model_type in WITHOUT_CLASSIFIER
    examples = examples_frame([(first, None if alone else second) for first, second in pairs])
    return Tried(zoo.pin("m"), zoo.load("m"), examples, folder)


def main() -> None:
    """Write the table into the page; with names of architectures, print theirs alone."""
    import tempfile

    rows = {}
    for model_type in sys.argv[1:] or ALL:
        with tempfile.TemporaryDirectory() as folder:
            rows[model_type] = row_of(tried(model_type, Path(folder)))
            print(model_type, flush=True)
    if sys.argv[1:]:
        print(table(rows))
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(f"{before}{START}\n{table(rows)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
