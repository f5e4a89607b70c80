"""One module per stored table: what a partition of the study needs, whether it is fresh, and how to make it.

A step reads its inputs from the warehouse, calls the pure functions of the capabilities, writes and reports.
Dagster's assets and the tests call steps; steps know nothing of Dagster.
"""
