"""Charts as SVG: panels drawn from plain values, and their composition. They know nothing of views or metrics.

A panel function takes values and returns a `Picture`; `layout` sets several side by side under one legend.
"""

from xlwh.report.charts.base import Axis, Picture, number, svg
from xlwh.report.charts.dots import Dot, dots
from xlwh.report.charts.flow import Link, Node, flow
from xlwh.report.charts.heat import Cell, heat
from xlwh.report.charts.layout import Key, grid, legend
from xlwh.report.charts.lines import Line, lines
from xlwh.report.charts.matrix import matrix
from xlwh.report.charts.scatter import Point, scatter

__all__ = [
    "Axis",
    "Cell",
    "Dot",
    "Key",
    "Line",
    "Link",
    "Node",
    "Picture",
    "Point",
    "dots",
    "flow",
    "grid",
    "heat",
    "legend",
    "lines",
    "matrix",
    "number",
    "scatter",
    "svg",
]
