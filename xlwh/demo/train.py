"""Train the demo's tokenizer and encoder: `python -m xlwh.demo.train` (a few minutes on two cores, no GPU).

Text comes from the grammar, without inference labels; `pretraining.py` says what is learnt from it. The word vectors
start from co-occurrence over parallel sentences (a truncated SVD), so that translations start close together.
Everything is seeded; other versions of torch or another number of threads give slightly other weights.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported: spinning threads starve each other on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# Pieces of equal frequency are merged in the order of one thread.
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from xlwh.demo import lexicon
from xlwh.demo.grammar import clauses, realise
from xlwh.demo.lexicon import LANGUAGES
from xlwh.demo.pretraining import Batch, PretrainingText
from xlwh.demo.tokenizer import SPECIALS, train_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BertModel, PreTrainedTokenizerFast

MODEL = Path(__file__).parent / "model"
COLUMNS = 8000
"""Parallel sentences that the word vectors start from."""


@dataclass(frozen=True)
class Recipe:
    """Shape and training of the encoder; small enough that attributions of the demo take seconds."""

    layers: int = 3
    heads: int = 4
    hidden: int = 64
    feed_forward: int = 128
    positions: int = 64
    pairs: int = 16_000
    steps: int = 9000
    rows: int = 64
    learning_rate: float = 3e-3
    warmup: int = 100
    seed: int = 2026


def train(recipe: Recipe, folder: Path, threads: int = 2) -> None:
    """Train and write `folder`: config, safetensors and tokenizer."""
    import torch

    torch.set_num_threads(threads)
    started = time.perf_counter(), time.process_time()
    tokenizer = train_tokenizer(
        (
            (language, realise(clause, language))
            for clause in clauses(f"{recipe.seed}-tokenizer", 8000)
            for language in LANGUAGES
        ),
        recipe.positions,
    )
    text = PretrainingText(tokenizer, lexicon.load(), recipe.pairs, recipe.seed)
    _report("text", started)
    model = _encoder(recipe, tokenizer, cooccurrence_vectors(text, len(tokenizer), recipe.hidden))
    _report("word vectors", started)
    _pretrain(model, recipe, text, started)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        # The weights are written through a temporary file that only its owner may read.
        path.chmod(0o644)


def cooccurrence_vectors(text: PretrainingText, vocabulary: int, size: int) -> NDArray[np.float32]:
    """A vector per piece, `[vocabulary, size]`, from the parallel sentences that it occurs in, in any language.

    Latent semantic indexing (Deerwester et al. 1990) of log-weighted piece-by-sentence counts; the rows have unit
    length.
    """
    counts = np.zeros((vocabulary, min(COLUMNS, len(text.switched))), dtype=np.float32)
    for sentences in text.first.values():
        for column, sentence in enumerate(sentences[:COLUMNS]):
            counts[sentence.ids, column] = 1
    weight = np.log(counts.shape[1] / np.maximum(counts.sum(axis=1), 1))
    weighted = (counts * weight[:, None]).astype(np.float64)
    weighted /= np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-9)
    values, vectors = np.linalg.eigh(weighted @ weighted.T)
    found = vectors[:, -size:] * np.sqrt(np.maximum(values[-size:], 0))
    unit: NDArray[np.float32] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    return unit.astype(np.float32)


def _encoder(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, vectors: NDArray[np.float32]) -> BertModel:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(recipe.seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.feed_forward,
        max_position_embeddings=recipe.positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=SPECIALS.index("<s>"),
        pad_token_id=SPECIALS.index("<pad>"),
        eos_token_id=SPECIALS.index("</s>"),
    )
    model = BertModel(config)
    weight = model.embeddings.word_embeddings.weight
    with torch.no_grad():
        rows = torch.from_numpy(vectors)
        known = rows.norm(dim=1) > 0
        # Unit vectors have a standard deviation of 1 / sqrt(size); twice BERT's .02 lets words outweigh positions.
        weight[known] = rows[known] * (0.04 * recipe.hidden**0.5)
    return model


def _pretrain(model: BertModel, recipe: Recipe, text: PretrainingText, started: tuple[float, float]) -> None:
    import torch
    from torch import nn

    width, vocabulary = recipe.hidden, model.config.vocab_size
    transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
    bias, word_head, pair_head = (
        nn.Parameter(torch.zeros(vocabulary)),
        nn.Linear(width, 1),
        nn.Linear(width, 1),
    )
    parameters = [
        *model.parameters(),
        *transform.parameters(),
        bias,
        *word_head.parameters(),
        *pair_head.parameters(),
    ]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.01)

    def rate(step: int) -> float:
        return min((step + 1) / recipe.warmup, 1 - step / recipe.steps)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    sums: NDArray[np.float64] = np.zeros(3)
    for step, batch in zip(range(recipe.steps), text.batches(recipe.rows, recipe.seed), strict=False):
        hidden, pooled, tensors = _forward(model, batch)
        masked = tensors["masked"]
        logits = transform(hidden[masked]) @ model.embeddings.word_embeddings.weight.T + bias
        inner = tensors["inner"]
        losses = (
            nn.functional.cross_entropy(logits, tensors["gold_ids"][masked]),
            nn.functional.binary_cross_entropy_with_logits(
                word_head(hidden[inner]).squeeze(-1), tensors["changed"][inner]
            ),
            nn.functional.binary_cross_entropy_with_logits(
                pair_head(pooled).squeeze(-1), tensors["changed_any"]
            ),
        )
        loss = losses[0] + 2 * losses[1] + losses[2]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        sums += torch.stack(losses).detach().numpy()
        if (step + 1) % 250 == 0:
            _report(f"step {step + 1}: " + " ".join(f"{x:.3f}" for x in sums / 250), started)
            sums[:] = 0
    model.eval()  # type: ignore[no-untyped-call]


def _forward(model: BertModel, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in vars(batch).items()}
    output = model(**{name: tensors[name] for name in ("input_ids", "token_type_ids", "attention_mask")})
    return output.last_hidden_state, output.pooler_output, tensors


def _report(what: str, started: tuple[float, float]) -> None:
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(f"{wall:6.0f} s, {cpu:6.0f} s of CPU: {what}", flush=True)


def main() -> None:
    """Command line: where to write, and how many threads to use."""
    parser = argparse.ArgumentParser(prog="python -m xlwh.demo.train", description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=MODEL, help="where the model is written (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    arguments = parser.parse_args()
    train(Recipe(steps=arguments.steps), arguments.folder, arguments.threads)


if __name__ == "__main__":
    main()
