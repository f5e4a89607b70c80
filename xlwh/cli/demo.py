"""What `xlwh demo` ends with: the consistency table of its models, and where to go from there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from xlwh.cli.render import grid
from xlwh.errors import MissingDataError
from xlwh.store import Warehouse
from xlwh.study import Study

_TABLE = """
select
    c.model,
    c.method,
    c.source_language as source,
    c.target_language as target,
    c.n as pairs,
    round(c.score, 3) as score,
    round(c.null_uniform, 3) as "null: uniform",
    round(c.null_shuffled, 3) as "null: shuffled",
    printf('%+.3f [%+.3f, %+.3f]', c.excess_shuffled, c.excess_shuffled_low, c.excess_shuffled_high)
        as "excess over shuffled, 95 %",
    round(t.value, 3) as accuracy
from ccta c
left join task_scores t
    on t.model = c.model and t.dataset = c.dataset and t.split = c.split and t.language = c.target_language
    and t.metric = 'accuracy' and t.variant = c.variant
where not c.is_self and list_contains($models, c.model) and list_contains($datasets, c.dataset)
order by c.model, c.method, c.source_language, c.target_language
"""

_EXPLANATION = """\
score: share of a pair's attribution that optimal transport matches with words of the same meaning in the other
language. The nulls are the same pairs with uniform weights, and with one side's weights shuffled over its words:
what is above them is what the attributions themselves agree on. Rows of method `random` should show no excess.
"""

_NEXT = """\
Three things to try next:
  xlwh sql "select * from task_scores"{where}          any question; xlwh tables lists what there is
  xlwh ui{where}                                       the assets, partitions, checks and plots in a browser
  xlwh init my-study                                   a commented study.toml for your own models and data"""


def show(study: Study, root: Path) -> None:
    """Print the CCTA table of a study: per model, method and pair of languages."""
    with closing(Warehouse(root).connect()) as connection:
        result = connection.execute(_TABLE, {"models": list(study.models), "datasets": list(study.datasets)})
        columns = [column[0] for column in result.description]
        rows = result.fetchall()
    if not rows:
        raise MissingDataError("There are no consistency scores yet. Run: xlwh demo")
    grid(columns, rows, title="Consistency of token attributions across languages (CCTA)")
    click.echo(_EXPLANATION)
    where = "" if root == Path("warehouse") else f" --warehouse {root}"
    click.echo(_NEXT.format(where=where))
