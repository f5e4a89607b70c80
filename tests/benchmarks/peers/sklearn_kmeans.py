"""scikit-learn's k-means from given centroids, until nothing moves.

`python sklearn_kmeans.py INPUTS kmeans RESULT`, as `measure.Run` reads it.
"""

from __future__ import annotations

from measure import Run

run = Run()
with run.stage("import"):
    import numpy as np
    from sklearn.cluster import KMeans

with run.stage("load"):
    points, start = np.load(run.inputs / "points.npy"), np.load(run.inputs / "centroids.npy")

with run.stage("work"):
    made = KMeans(len(start), init=start, n_init=1, max_iter=300, tol=0).fit(points)

np.save(run.result.with_suffix(".npy"), made.labels_)
run.report("scikit-learn", note=f"{made.n_iter_} iterations")
