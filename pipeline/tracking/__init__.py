"""Runs in MLflow: every stage is one, tied by tags to the runs whose outputs it read. Tracking never stops or slows the work.

The default store is one SQLite file in the work folder, with the artifacts beside it; `MLFLOW_TRACKING_URI` names another.
`runs` opens a run, `tracker` notes into it through `sender`, `store` opens the store itself, `search` reads runs that it holds,
`origin` says where and by whom.
"""

from pipeline.tracking.address import default_uri, redact
from pipeline.tracking.entries import flatten
from pipeline.tracking.runs import PARENT_RUN_TAG, find_run, start_run
from pipeline.tracking.search import TrackedRun, finished_runs, is_on_toy_world, tracked_run
from pipeline.tracking.tracker import NullTracker, Tracker

__all__ = [
    "PARENT_RUN_TAG",
    "NullTracker",
    "TrackedRun",
    "Tracker",
    "default_uri",
    "find_run",
    "finished_runs",
    "flatten",
    "is_on_toy_world",
    "redact",
    "start_run",
    "tracked_run",
]
