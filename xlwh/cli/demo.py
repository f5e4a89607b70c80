"""What `xlwh demo` ends with: the consistency table of its models, and where to go from there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from xlwh.cli.render import grid
from xlwh.errors import MissingDataError
from xlwh.store import Warehouse
from xlwh.store.roots import name_of
from xlwh.study import Study

_TABLE = """
select
    c.model,
    c.method,
    c.source_language || ' → ' || c.target_language as languages,
    printf('%.3f', c.score) as score,
    printf('%.3f', c.null_uniform) as uniform,
    printf('%.3f', c.null_shuffled) as shuffled,
    printf('%+.3f ± %.3f', c.excess_shuffled, (c.excess_shuffled_high - c.excess_shuffled_low) / 2) as excess,
    printf('%.3f', t.value) as accuracy
from ccta c
left join task_scores t
    on t.model = c.model and t.dataset = c.dataset and t.split = c.split and t.language = c.target_language
    and t.metric = 'accuracy' and t.variant = c.variant
where not c.is_self and list_contains($models, c.model) and list_contains($datasets, c.dataset)
order by c.method, c.model, c.source_language, c.target_language
"""

_EXPLANATION = """\
score: the share of a pair's attributions that optimal transport brings onto words of the same meaning in the other
language. The two nulls are the same pairs with uniform weights, and with one side's weights shuffled over its words;
excess is score - shuffled, with its 95 % interval. Rows of method `random` show what attributions without any meaning
come to. accuracy is that of the model in the target language.
"""

_NEXT = {
    'sql "select * from task_scores"': "ask anything; `xlwh tables` lists what there is",
    "explore": "figures, parallel examples and SQL in a browser",
    "ui": "the assets, partitions, checks and plots in a browser",
    "init my-study": "a commented study.toml for your own models and data",
}


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
    where = "" if root == Path("warehouse") else f" --warehouse {name_of(root)}"
    commands = {
        f"xlwh {name}{'' if name.startswith('init') else where}": what for name, what in _NEXT.items()
    }
    click.echo("To try next:")
    for name, what in commands.items():
        click.echo(f"  {name:{max(map(len, commands))}}  {what}")
