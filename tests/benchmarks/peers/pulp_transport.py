"""CCTA's optimal transport as a linear program, written with PuLP and solved with its bundled CBC.

`python pulp_transport.py INPUTS transport RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def consistency(source: Sequence[float], target: Sequence[float], similarity: Any) -> float:
    """The most that can be transported over similarities `[n_s][n_t]` from weights `[n_s]` to weights `[n_t]`."""
    import pulp

    problem = pulp.LpProblem("ccta", pulp.LpMaximize)
    n, m = len(source), len(target)
    flow = [[pulp.LpVariable(f"f_{i}_{j}", 0) for j in range(m)] for i in range(n)]
    problem += pulp.lpSum(similarity[i][j] * flow[i][j] for i in range(n) for j in range(m))
    for i in range(n):
        problem += pulp.lpSum(flow[i]) <= source[i]
    for j in range(m):
        problem += pulp.lpSum(flow[i][j] for i in range(n)) <= target[j]
    problem.solve(pulp.PULP_CBC_CMD(msg=False))
    return float(pulp.value(problem.objective))


def main() -> None:
    from measure import Run

    run = Run()
    with run.stage("import"):
        import pulp  # noqa: F401

    with run.stage("load"):
        cases = json.loads((run.inputs / "transport.json").read_text())

    with run.stage("work"):
        found = [consistency(case["source"], case["target"], case["similarity"]) for case in cases]

    run.result.with_suffix(".json").write_text(json.dumps(found))
    run.report("PuLP")


if __name__ == "__main__":
    main()
