"""Consistency of attributions in a marimo notebook: `marimo edit examples/notebooks/consistency_marimo.py`.

Reads the warehouse in XLWH_WAREHOUSE, or ./warehouse; `xlwh demo` makes one.
"""

import marimo

app = marimo.App(width="medium")


@app.cell
def _():
    import os

    import marimo as mo

    import xlwh
    from xlwh.report.charts import svg
    from xlwh.report.figures import figure, render
    from xlwh.report.theme import plain
    from xlwh.report.views import FrameViews

    warehouse = os.environ.get("XLWH_WAREHOUSE", "warehouse")
    database = xlwh.connect(warehouse)
    return FrameViews, database, figure, mo, plain, render, svg


@app.cell
def _(FrameViews, database):  # noqa: N803
    views = FrameViews(database.cursor)
    ccta = views.frame("ccta")
    return ccta, views


@app.cell
def _(ccta, mo):
    model = mo.ui.dropdown(sorted(set(ccta["model"])), value=min(ccta["model"]), label="model")
    model  # noqa: B018
    return (model,)


@app.cell
def _(figure, mo, model, plain, render, svg, views):
    # The same figure as in the explorer and the report.
    drawn = render(figure("ccta_excess"), views, {"model": model.value})
    mo.vstack([mo.Html(plain(svg(drawn.picture, "Consistency"), "light")), mo.md(drawn.note)])
    return (drawn,)


@app.cell
def _(drawn):
    drawn.table  # noqa: B018
    return


@app.cell
def _(database, mo, model):
    words = database.sql(
        """
        select language, word, count(*) as n, avg(attribution) as mean_attribution
        from word_attributions
        where model = $model and method <> 'random'
        group by all having n >= 5
        order by abs(mean_attribution) desc limit 20
        """,
        params={"model": model.value},
    ).pl()
    mo.vstack([mo.md("Words with the strongest attributions"), words])
    return (words,)


if __name__ == "__main__":
    app.run()
