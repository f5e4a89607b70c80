"""One asset per SQL view: its lineage is the one parsed from the SQL, its materialisation rows that are kept and a catalogue that reads them."""

# No `from __future__ import annotations` here: Dagster reads the types of an asset's parameters as objects.

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg

from dagster_project.events import defer_events, log_made, log_not_made
from dagster_project.plots import view_plot
from dagster_project.resources import Reporter, WarehouseResource
from xlwh.report.views import FrameViews
from xlwh.store.metrics import registered
from xlwh.store.views import View, load, with_shipped
from xlwh.study import Study
from xlwh.tables import TABLES
from xlwh.tables.glossary import described


def derived_views(study: Study) -> list[View]:
    """The views that are more than a stored table under its own name, each after those that it reads."""
    mine = {name: _metric(name, entry.value) for name, entry in registered().items()}
    views = load(with_shipped(study.sql_folder), mine).views.values()
    return [view for view in views if view.name not in TABLES]


def _metric(name: str, function: str) -> View:
    """What is known of a metric before it is computed."""
    return View(name, "metrics", Path(), "select 1", f"Computed by {function}.", (), function, {}, ())


def view_assets(study: Study) -> dg.AssetsDefinition:
    """The assets of all views, made together."""
    views = derived_views(study)

    @dg.multi_asset(name="views", specs=[_spec(view) for view in views], can_subset=True)
    def make(
        context: dg.AssetExecutionContext,
        warehouse: WarehouseResource,
        reporter: dg.ResourceParam[Reporter],
    ) -> Iterator[dg.MaterializeResult[None]]:
        defer_events(context)
        opened = warehouse.open()
        opened.compute_metrics()
        opened.adopt_sql(study.sql_folder)
        wanted = {key.to_user_string() for key in context.selected_asset_keys}
        names = [view.name for view in views if view.name in wanted]

        def progress(name: str, done: int, total: int) -> None:
            reporter.keeping(context, name, done, total)

        kept = opened.keep_views(names, progress)
        problems = {name: kept[name].error for name in names if name in kept and kept[name].error}
        with closing(opened.connect()) as connection:
            pictures = FrameViews(connection.cursor)
            for name in names:
                if name in problems:
                    continue
                rows = connection.execute(f'select count(*) from "{name}"').fetchall()[0][0]
                made = kept.get(name)
                seconds = 0.0 if made is None else made.duration_s
                reporter.view(context, name, rows, seconds)
                metadata: dict[str, object] = {
                    "dagster/row_count": rows,
                    "seconds to compute": round(seconds, 4),
                }
                if made is not None:
                    metadata |= {"parts": made.slices, "parts computed": made.computed}
                if rows:
                    log_made(context, name, "", metadata | view_plot(pictures, name))
                else:
                    log_not_made(context, name, "", metadata | {"status": "no rows yet"})
                yield dg.MaterializeResult(asset_key=name)
        if problems:
            raise dg.Failure("\n".join(map(str, problems.values())), allow_retries=False)

    return make


def _spec(view: View) -> dg.AssetSpec:
    columns = [
        dg.TableColumn(name, description=described(view.name, name, text))
        for name, text in view.columns.items()
    ]
    return dg.AssetSpec(
        view.name,
        deps=list(view.depends_on),
        group_name="views",
        description=view.description,
        kinds={"sql", "duckdb"},
        metadata={
            "key": ", ".join(view.key),
            "source": view.source,
            "dagster/column_schema": dg.TableSchema(columns=columns),
            "sql": dg.MetadataValue.md(f"```sql\n{view.sql}\n```"),
        },
    )
