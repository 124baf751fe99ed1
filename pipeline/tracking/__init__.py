"""Runs in MLflow: every stage is one, tied by tags to the runs whose outputs it read. Tracking never stops or slows the work.

The default store is one SQLite file in the work folder, with the artifacts beside it; `MLFLOW_TRACKING_URI` names another.
`runs` opens a run, `tracker` notes into it through `sender`, `delivery` tells the store, `search` reads runs that it holds. What
a store does not take lies in `unsent`, and `sync` sends it. `store` opens the store itself, `origin` says where and by whom.
"""

from pipeline.tracking.address import OFFLINE, default_uri, redact
from pipeline.tracking.beginning import KEPT_TAG
from pipeline.tracking.entries import flatten
from pipeline.tracking.loopback import load_server, serve_store
from pipeline.tracking.registry import register
from pipeline.tracking.runs import PARENT_RUN_TAG, check_store, find_run, start_run
from pipeline.tracking.search import TrackedRun, finished_runs, is_on_toy_world, tracked_run
from pipeline.tracking.sync import sync
from pipeline.tracking.tracker import NullTracker, Tracker
from pipeline.tracking.unsent import FOLDER as UNSENT

__all__ = [
    "KEPT_TAG",
    "OFFLINE",
    "PARENT_RUN_TAG",
    "UNSENT",
    "NullTracker",
    "TrackedRun",
    "Tracker",
    "check_store",
    "default_uri",
    "find_run",
    "finished_runs",
    "flatten",
    "is_on_toy_world",
    "load_server",
    "redact",
    "register",
    "serve_store",
    "start_run",
    "sync",
    "tracked_run",
]
