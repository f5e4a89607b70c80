"""Every analysis that computes on the model's device, as a function of a small world: what is run under a pretended GPU.

An analysis returns its numbers, nested in mappings, sequences, arrays and frames; `apart` tells where two results
differ. What an analysis refuses for a model (an XlwhError) is a result too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from xlwh.attribution.base import Item
from xlwh.attribution.methods import METHODS, shared_pass
from xlwh.errors import XlwhError
from xlwh.models import LoadedModel
from xlwh.models.tokenize import Encoded
from xlwh.study.attribution import Methods

BATCH_TOKENS = 512


@dataclass(frozen=True)
class World:
    """A loaded model with examples, and a folder to write into."""

    loaded: LoadedModel
    examples: pl.DataFrame
    encoded: Encoded
    folder: Path

    @property
    def items(self) -> list[Item]:
        """An explanation of each example: a class, the output of the second sub-token, or a token to write."""
        count, task = len(self.encoded), self.loaded.task
        if task == "sequence_classification":
            return [Item(row, row % 3) for row in range(count)]
        if task == "translation":
            return [Item(row, 5, position=0) for row in range(count)]
        output = "start_logits" if task == "question_answering" else "logits"
        return [Item(row, 0, position=1, output=output) for row in range(count)]


Analysis = Callable[[World], Any]


def _parameters(name: str) -> Any:
    """Of an attribution method, such that it is done soon."""
    fewer = {
        "lig": {"max_rows": 40},
        "integrated_gradients": {"max_rows": 40},
        "lig_fixed": {"steps": 3},
        "integrated_gradients_mask": {"max_rows": 24},
        "gradient_shap": {"samples": 3, "noise": 0.1},
    }
    (part,) = (kind for kind in Methods.model_fields[name].annotation.__args__ if kind is not type(None))
    return part(**fewer.get(name, {}))


def attributed(*names: str) -> Analysis:
    """The methods of one pass, as the steps call them."""

    def run(world: World) -> Any:
        make = shared_pass(METHODS[names[0]], names, world.folder)
        parameters = {name: _parameters(name) for name in names}
        made = dict(make(world.loaded, world.encoded, world.items, parameters, BATCH_TOKENS))
        return [made[index] for index in range(len(world.items))]

    return run


def _passes() -> dict[str, Analysis]:
    """All methods that there are: one analysis for each pass."""
    passes: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        passes.setdefault(method.function if method.shared else name, []).append(name)
    return {f"attribution: {', '.join(names)}": attributed(*names) for names in passes.values()}


def predictions(world: World) -> Any:
    from xlwh.models.predictions import HEADS, Options

    head = HEADS[world.loaded.task or ""]
    options = Options(generation={"beams": 2, "max_tokens": 6})
    return head.rows(world.loaded, world.examples, options, lambda *_: None)


def token_predictions(world: World) -> Any:
    from xlwh.models.predictions import tags

    return tags(world.loaded, world.examples, "first", lambda *_: None)


def probes(world: World) -> Any:
    from xlwh.attribution import probes as module

    loaded, encoded, items = world.loaded, world.encoded, world.items[:2]
    names = ("input_x_gradient", "attention")
    make = shared_pass(METHODS[names[0]], names, world.folder)
    removed = module.removals(loaded, encoded, items, 3, BATCH_TOKENS)
    radius, drawn = module.noises(loaded, encoded, 0, 2, 0.1)
    parameters = {name: _parameters(name) for name in names}
    return (
        removed,
        radius,
        module.under_noise(loaded, encoded, items[0], make, parameters, drawn, BATCH_TOKENS),
    )


def perturbations(*soft: str) -> Analysis:
    def run(world: World) -> Any:
        from xlwh.faithfulness.perturbations import Ranking, Subject, perturb
        from xlwh.study import Faithfulness

        random = np.random.default_rng(0)
        subjects = [
            Subject(
                row,
                row % 3,
                tuple(
                    Ranking(name, 0, random.normal(size=int(world.encoded.lengths[row])))
                    for name in ("a", "b")
                ),
            )
            for row in range(3)
        ]
        masking = ("pad", "delete", "zero_id")
        if world.loaded.tokenizer.mask_token_id is not None:
            masking = ("mask", *masking)
        settings = Faithfulness(
            masking=masking, ratios=(0.2, 0.5), soft_draws=2, soft_masking=soft, batch_tokens=BATCH_TOKENS
        )
        return perturb(world.loaded, world.encoded, subjects, settings)

    return run


def activations(world: World) -> Any:
    from xlwh.concepts.activations import find_words, word_vectors
    from xlwh.concepts.places import Place
    from xlwh.models.hidden import places

    loaded, encoded = world.loaded, world.encoded
    sizes = [len(words) for words in encoded.words]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    spans = find_words(encoded, owner, np.concatenate([np.arange(size) for size in sizes]))
    conventions: dict[str, tuple[Any, ...]] = {"decoder": ("consumed", "predicting")}
    wanted = [
        Place(stack, layer, convention)
        for stack, layer in places(loaded.model)
        for convention in conventions.get(stack, (None,))
    ]
    return [
        list(word_vectors(loaded, encoded, spans, wanted, aggregation).values())
        for aggregation in ("last", "first", "mean")
    ]


def _sampler(**settings: Any) -> Any:
    chosen = {"estimator": "permutation", "truncation": 0.5, "antithetic": True, "round_permutations": 4}
    return SimpleNamespace(**{**chosen, **settings})


def heads(
    kinds: Sequence[str] = ("head",), measure: Any = "accuracy", precision: str = "float32", **settings: Any
) -> Analysis:
    def run(world: World) -> Any:
        from xlwh.heads.engine import engine_on
        from xlwh.heads.sampler import sample_round

        engine = engine_on(world.loaded, world.examples, kinds, (), "first", measure, precision)
        ids = world.examples["example_id"].to_list()
        return sample_round(engine, _sampler(**settings), 0, 0, np.ones(len(engine.players), bool), ids)

    return run


def importance(world: World) -> Any:
    from xlwh.heads.importance import LOOKS, attention_looks, gradient_importance
    from xlwh.heads.scores import gold_of

    gold = gold_of(world.loaded, world.encoded, world.examples)
    found = [gradient_importance(world.loaded, world.encoded, gold)]
    return found, attention_looks(world.loaded, world.encoded, list(LOOKS))


def attention_maps(world: World) -> Any:
    from xlwh.heads import attention

    return attention.attention_maps(world.loaded, world.examples)


def pruned(world: World) -> Any:
    from xlwh.heads.export import save_pruned
    from xlwh.heads.players import Player

    made = save_pruned(world.loaded, [Player("head", 0, 0)], world.folder / "pruned")
    return sorted((name, list(value.shape)) for name, value in made.state_dict().items())


def randomized(world: World) -> Any:
    """Last, since it changes the model."""
    from xlwh.models.randomize import shuffle_weights
    from xlwh.study import Randomization

    shuffle_weights(world.loaded.model, Randomization(parts="all"))
    return {name: value.cpu().numpy() for name, value in world.loaded.model.named_parameters()}


def self_test(world: World) -> Any:
    from xlwh.selftest.checks import self_test
    from xlwh.selftest.texts import built_in

    found = self_test(world.loaded, built_in(pairs=True))
    return [(result.item, result.status) for result in found]


def fine_tuning(autocast: str = "none") -> Analysis:
    def run(world: World) -> Any:
        from xlwh.models.finetune import Job, finetune
        from xlwh.models.loading import load_trainable
        from xlwh.study import Finetune, Model

        loaded = world.loaded
        task = {"sequence_classification": "sentence_pair"}.get(loaded.task or "", loaded.task or "")
        recipe = Finetune(
            base="m",
            dataset="nli",
            languages=("en",),
            epochs=2,
            batch_size=4,
            max_length=24,
            evaluations_per_epoch=1,
            autocast=autocast,
        )
        labels = loaded.labels or ()
        rows = world.examples
        job = Job(
            "tuned",
            recipe,
            task,
            labels,
            rows,
            rows,
            world.folder / "staging" / "tuned-0123456789abcdef",
            world.folder / "tuned" / "x",
        )
        model = Model(path="m")
        made = finetune(
            job,
            lambda: load_trainable(loaded.pin, model, loaded.device, labels, 0, loaded.task or ""),
            checkpoint_every_s=0,
        )
        return {name: made[name] for name in ("train_steps", "best_step", "dev_score")}

    return run


def clustering(world: World) -> Any:
    from xlwh.concepts.kmeans import cluster
    from xlwh.concepts.points import from_array

    points = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)
    made = cluster(from_array(points), 12, 0, "torch", 2, 20, world.loaded.device)
    return made.centroids, made.labels, made.distances, made.iterations


ANALYSES: Mapping[str, Mapping[str, Analysis]] = {
    "ForSequenceClassification": {
        "predictions": predictions,
        **_passes(),
        "probes": probes,
        "perturbations": perturbations("bernoulli"),
        "perturbations after the norm": perturbations("bernoulli_reversed"),
        "activations": activations,
        "heads": heads(),
        "heads in bfloat16": heads(measure="probability", precision="bfloat16"),
        "layers and feed-forward blocks": heads(("layer", "mlp")),
        "layers, exact": heads(("layer",), estimator="exact"),
        "heads on the whole set": heads(estimator="whole_set", round_permutations=2),
        "importance": importance,
        "attention maps": attention_maps,
        "pruned": pruned,
        "self-test": self_test,
        "fine-tuning": fine_tuning(),
        "fine-tuning in bfloat16": fine_tuning("bfloat16"),
        "clustering": clustering,
        "randomized": randomized,
    },
    "ForTokenClassification": {
        "predictions": token_predictions,
        "lig": attributed("lig"),
        "saliency": attributed("input_x_gradient", "attention", "scaled_attention"),
        "heads": heads(),
        "importance": importance,
        "self-test": self_test,
        "fine-tuning": fine_tuning(),
    },
    "ForQuestionAnswering": {
        "predictions": predictions,
        "lig": attributed("lig"),
        "saliency": attributed("input_x_gradient", "attention", "scaled_attention"),
        "self-test": self_test,
        "fine-tuning": fine_tuning(),
    },
    "ForConditionalGeneration": {
        "predictions": predictions,
        "lig": attributed("lig"),
        "self-test": self_test,
        "fine-tuning": fine_tuning(),
    },
}
"""Analyses by the head of the model (the class of transformers behind its family's name) and what they are called."""


def result_of(analysis: Analysis, world: World) -> Any:
    """What it returns, or says no to."""
    try:
        return analysis(world)
    except XlwhError as refused:
        return f"{type(refused).__name__}: {refused}"


def apart(one: Any, other: Any, at: str = "", rtol: float = 1e-3, atol: float = 1e-4) -> list[str]:
    """Where two results differ by more than rounding: places in them, none where they agree."""
    if is_dataclass(one) and not isinstance(one, type):
        one, other = ({each.name: getattr(x, each.name) for each in fields(x)} for x in (one, other))
    if isinstance(one, pl.DataFrame):
        one, other = one.to_dict(as_series=False), other.to_dict(as_series=False)
    if isinstance(one, pl.Series):
        one, other = one.to_list(), other.to_list()
    if isinstance(one, Mapping):
        if list(one) != list(other):
            return [f"{at}: {list(one)} and {list(other)}"]
        return [line for key in one for line in apart(one[key], other[key], f"{at}/{key}", rtol, atol)]
    if isinstance(one, float | np.ndarray | np.floating) and np.asarray(one).dtype.kind == "f":
        a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
        same = a.shape == b.shape and np.allclose(
            a, b, rtol, atol * max(1.0, float(np.abs(a).max(initial=0))), True
        )
        return [] if same else [f"{at}: {a} and {b}"]
    if isinstance(one, np.ndarray):
        one, other = one.tolist(), other.tolist()
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{at}: {len(one)} and {len(other)} entries"]
        pairs = enumerate(zip(one, other, strict=True))
        return [line for i, (a, b) in pairs for line in apart(a, b, f"{at}/{i}", rtol, atol)]
    return [] if one == other else [f"{at}: {one} and {other}"]
