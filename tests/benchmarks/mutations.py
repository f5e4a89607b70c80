"""Faults planted one by one, each of which some test must find; prints what became of them.

    python tests/benchmarks/mutations.py                 # all, minutes; exit code 1 where one survives
    python tests/benchmarks/mutations.py holm            # those whose name has `holm` in it

A fault is a piece of text replaced by another one in a copy of the project, where the tests that should find it are
run. They are run on the copy as it is first: a test that fails anyway finds nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("xlwh", "sql", "tests", "dagster_project", "docs", "examples", "pyproject.toml", "README.md")
"""What the tests look at."""


@dataclass(frozen=True)
class Mutation:
    """`old`, which stands once in `file`, becomes `new`; one of `tests` has to fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PAIRS, STATS, EFFECTS = "xlwh/consistency/pairs.py", "xlwh/stats.py", "sql/metric/pruning_effects.sql"
OBSERVATIONS, RANKS = "sql/core/head_observations.sql", "sql/metric/head_rank_correlation.sql"
CORRELATIONS, RESAMPLING = "sql/core/pair_correlations.sql", "sql/macros/resampling.sql"
RANDOM, PERTURBED = "xlwh/attribution/random.py", "xlwh/faithfulness/perturbations.py"
SCORED = (
    "tests/unit/consistency/test_pairs.py::test_scores_and_nulls_are_those_of_the_linear_program_in_double_precision",
)
NAMED = (
    "tests/unit/consistency/test_pairs.py::test_shuffles_are_named_by_the_seed_the_split_the_example_and_the_method",
)
SHUFFLED = ("tests/unit/consistency/test_transport.py::test_shuffles_depend_on_names_only",)
NULL_OF_STEP = ("tests/unit/steps/test_ccta_pairs.py::test_nulls_are_seeded_by_the_study_and_the_dataset",)
BOOTSTRAP = ("tests/unit/test_stats.py::test_the_sample_itself_counts_among_the_resamples",)
HOLM = ("tests/sql/test_macros.py::test_holm_by_hand_in_sql_and_python",)
DRAWS = ("tests/unit/attribution/test_random.py",)
NUMBERED = (
    "tests/unit/faithfulness/test_perturbations.py::test_each_draw_of_random_scores_is_one_of_its_own",
)
HALVES = ("tests/sql/test_heads.py::test_halves_share_no_permutation",)
APART = ("tests/sql/test_heads.py::test_rank_correlations_have_a_ceiling_from_halves",)
CORRECTED = ("tests/sql/test_heads.py::test_effects_are_corrected_over_the_languages_of_one_kind_of_mask",)
JACKKNIFE = ("tests/sql/test_pair_correlations.py::test_intervals_are_those_of_a_plain_cluster_jackknife",)
ASSIGNED = (
    "tests/sql/test_pair_correlations.py::test_p_is_over_every_order_of_languages_that_are_sources_and_targets",
)
LEVELS = (
    "tests/sql/test_pair_correlations.py::test_models_with_a_source_language_each_change_places_with_it",
)
LEAST = (
    "tests/sql/test_scorecards.py::test_a_perfect_correlation_of_many_pairs_has_no_interval_and_the_least_p",
)
WITHHELD = ("tests/sql/test_pair_correlations.py::test_what_cannot_be_told_is_not",)
NOTHING = ("tests/sql/test_heads.py::test_a_mask_that_removes_nothing_changes_nothing",)

MUTATIONS = (
    Mutation("ccta: cosines in float32", PAIRS, "= source @ target.T", "= (source.astype(np.float32) @ target.T.astype(np.float32)).astype(float)", SCORED),
    Mutation("ccta: unit vectors in float32", PAIRS, "np.zeros((frame.height + 1, width[0]))", "np.zeros((frame.height + 1, width[0]), dtype=np.float32)", SCORED),
    Mutation("ccta: the null's seed without the method", PAIRS, "key_of(seed, split, example, method)", "key_of(seed, split, example)", NAMED),
    Mutation("ccta: the null's seed without the example", PAIRS, "key_of(seed, split, example, method)", "key_of(seed, split, method)", NAMED),
    Mutation("ccta: the null's seed without the split", PAIRS, "key_of(seed, split, example, method)", "key_of(seed, example, method)", NAMED),
    Mutation("ccta: the null's seed without the study's", PAIRS, "key_of(seed, split, example, method)", "key_of(split, example, method)", NAMED),
    Mutation("ccta: each normalisation has shuffles of its own", PAIRS, "seeds=np.repeat(np.array(seeds[first:last], dtype=np.uint64), each),", "seeds=np.repeat(np.array(seeds[first:last], dtype=np.uint64), each) + np.arange(each * (last - first), dtype=np.uint64),", NAMED),
    Mutation("ccta: every shuffle is the same", "xlwh/consistency/transport.py", "np.arange(1, draws + 1, dtype=np.uint64) * GOLDEN_GAMMA", "np.ones(draws, dtype=np.uint64) * GOLDEN_GAMMA", SHUFFLED),
    Mutation("ccta: the step's seed without the dataset", "xlwh/steps/consistency/ccta_pairs.py", 'seed = f"{params.seed}\\x1f{job.name}"', 'seed = f"{params.seed}"', NULL_OF_STEP),
    Mutation("ccta: the step's seed without the study's", "xlwh/steps/consistency/ccta_pairs.py", 'seed = f"{params.seed}\\x1f{job.name}"', 'seed = f"\\x1f{job.name}"', NULL_OF_STEP),
    Mutation("holm: no running maximum", STATS, "np.maximum.accumulate(factors * p[known][order])", "factors * p[known][order]", HOLM),
    Mutation("holm: no running maximum in SQL", RESAMPLING, "case when x <= p then", "case when x = p then", HOLM),
    Mutation("holm: over all masks together", EFFECTS, "partition by family", "partition by 1", CORRECTED),
    Mutation("bootstrap: p is k / B", STATS, "(1 + beyond) / (resamples + 1)", "beyond / resamples", BOOTSTRAP),
    Mutation("bootstrap: p is k / (B + 1)", STATS, "(1 + beyond) / (resamples + 1)", "beyond / (resamples + 1)", BOOTSTRAP),
    Mutation("bootstrap: p is (1 + k) / B", STATS, "(1 + beyond) / (resamples + 1)", "(1 + beyond) / resamples", BOOTSTRAP),
    Mutation("bootstrap: a resample that is as far off does not count", STATS, ">= abs(mean) * (1 - 1e-12)", "> abs(mean) * (1 + 1e-12)", BOOTSTRAP),
    Mutation("bootstrap: one seed for all", STATS, 'stream("bootstrap", seed)', 'stream("bootstrap")', ("tests/unit/test_stats.py::test_seed_decides",)),
    Mutation("random: every draw is the same", RANDOM, 'stream("random", example, number)', 'stream("random", example)', DRAWS),
    Mutation("random: every example has the same draws", RANDOM, 'stream("random", example, number)', 'stream("random", number)', DRAWS),
    Mutation("random: the mean of one draw, repeated", RANDOM, "draw(encoded.names[item.example], number, len(special))", "draw(encoded.names[item.example], 0, len(special))", DRAWS),
    Mutation("random: perturbations of one draw, repeated", PERTURBED, "draw(encoded.names[index], number, size)", "draw(encoded.names[index], 0, size)", NUMBERED),
    Mutation("random: soft masks of one draw, repeated", PERTURBED, "ranking.repeat == (draw if ranking.method", "ranking.repeat == (0 if ranking.method", NUMBERED),
    Mutation("halves: all permutations in one", OBSERVATIONS, "else permutation % 2 end", "else 0 end", HALVES),
    Mutation("halves: pairs of permutations", OBSERVATIONS, "else permutation % 2 end", "else permutation // 2 % 2 end", HALVES),
    Mutation("halves: pairs of antithetic pairs", OBSERVATIONS, "(permutation // 2 % 2)", "(permutation // 4 % 2)", HALVES),
    Mutation("halves: of exact values by the head", OBSERVATIONS, "hash(example_id) % 2", "head % 2", HALVES),
    Mutation("halves: compared within one half", RANKS, "correlation(s_even, t_odd) + correlation(s_odd, t_even)", "correlation(s_even, t_even) + correlation(s_odd, t_odd)", APART),
    Mutation("halves: one language's ceiling for both", RANKS, "correlation(t_even, t_odd) as ceiling_target", "correlation(s_even, s_odd) as ceiling_target", APART),
    Mutation("effects: a mask of nothing has an interval", EFFECTS, "case when num_removed = 0 then 0.0 else effect_high end", "effect_high", NOTHING),
    Mutation("correlations: pooled over models", CORRELATIONS, "a - avg(a) over (partition by population, stratum) as a,", "a - avg(a) over (partition by population) as a,", LEVELS),
    Mutation("correlations: ranked over models", CORRELATIONS, "average_rank((population, stratum), a)", "average_rank(population, a)", LEVELS),
    Mutation("correlations: only target languages are left out", CORRELATIONS, "unnest([source_language, target_language]) as language", "unnest([target_language]) as language", JACKKNIFE),
    Mutation("correlations: pairs count twice", RESAMPLING, "by_language - 0.75 * by_pair, by_language / 2", "by_language, by_language / 2", JACKKNIFE),
    Mutation("correlations: no factor for few languages", RESAMPLING, "* languages / (languages - 1)))", "))", JACKKNIFE),
    Mutation("correlations: only rows change places", CORRELATIONS, "from_there.target_language = t.onto", "from_there.target_language = places.target_language", ASSIGNED),
    Mutation("correlations: p is k / B", CORRELATIONS, "(count_if(rho >= observed - 1e-9) + is_drawn::int) / (count(*) + is_drawn::int)", "count_if(rho >= observed - 1e-9) / count(*)", LEAST),
    Mutation("correlations: a language with itself counts", CORRELATIONS, "coalesce(bool_or(source_language = target_language), false) as has_self", "false as has_self", WITHHELD),
)  # fmt: skip


def copy(folder: Path) -> None:
    """The project as it is, without what is made of it."""
    ignored = shutil.ignore_patterns("__pycache__", ".*", "*.so")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copyfile(source, folder / name)


def passes(folder: Path, tests: tuple[str, ...]) -> bool:
    """Whether all these tests pass on the copy. RuntimeError where they cannot be run at all."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ran.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout}")
    return ran.returncode == 0


def survivors(mutations: tuple[Mutation, ...]) -> list[str]:
    """Names of the faults that no test finds, or whose tests fail without them."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy(folder)
        every = tuple(dict.fromkeys(test for mutation in mutations for test in mutation.tests))
        if not passes(folder, every):
            return ["the tests fail without any fault"]
        print("| fault | found | seconds |\n|---|---|---|", flush=True)
        for mutation in mutations:
            path, began = folder / mutation.file, time.monotonic()
            whole = path.read_text(encoding="utf-8")
            path.write_text(whole.replace(mutation.old, mutation.new), encoding="utf-8")
            alive = passes(folder, mutation.tests)
            path.write_text(whole, encoding="utf-8")
            print(
                f"| {mutation.name} | {'no' if alive else 'yes'} | {time.monotonic() - began:.0f} |",
                flush=True,
            )
            found += [mutation.name] if alive else []
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a part of a fault's name; default: all faults"
    )
    names = parser.parse_args().names
    chosen = tuple(each for each in MUTATIONS if not names or any(name in each.name for name in names))
    if not chosen:
        parser.error(f"no fault is called {', '.join(names)}")
    left = survivors(chosen)
    for name in left:
        print(f"Survived: {name}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
