"""Made-up faults, each found and named, and a healthy machine that is told so."""

import fcntl
import json
import os
import shutil
import socket
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from jobs.doctor import machine, nodes, places, services
from jobs.doctor.finding import Finding, Level, good, stops, table, warning
from jobs.runner import inventory
from jobs.stage import Context
from launchers.doctor import doctor
from pipeline.errors import ConfigError, PipelineError
from pipeline.manifest import Manifest
from pipeline.recipes import load
from pipeline.train.forecast.gpus import GPUS


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "data" / "a.parquet").write_bytes(b"x" * 1000)
    return Context(work=tmp_path / "work", data=tmp_path / "data", recipe=load("tiny"), tracking="offline")


def levels(findings: Iterator[Finding]) -> dict[str, Level]:
    return {finding.subject: finding.level for finding in findings}


def test_folders_that_are_not_there_or_hold_no_model(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"x" * 2048)
    assert set(levels(places.folders(context, folder)).values()) == {Level.GOOD}
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    (tmp_path / "data" / "a.parquet").unlink()
    (tmp_path / "data").rmdir()
    found = levels(places.folders(context, folder))
    assert found == {"work folder": Level.GOOD, "data folder": Level.STOPS, "model folder": Level.STOPS}
    (folder / "config.json").unlink()
    *_, last = places.folders(context, folder)
    assert "no config.json" in last.seen


def test_a_work_folder_that_nobody_may_write(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**given: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(places.tempfile, "NamedTemporaryFile", refuse)
    first = next(places.folders(context, None))
    assert (first.level, "Read-only file system" in first.seen) == (Level.STOPS, True)


def test_locks_that_hold_that_are_not_there_and_that_do_not_hold(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places.locks(context.work).level is Level.GOOD

    def refuse(*given: object) -> None:
        raise OSError(38, os.strerror(38))

    for flock, said in ((refuse, "none here"), (lambda *_: None, "a second lock is given")):
        monkeypatch.setattr(fcntl, "flock", flock)
        found = places.locks(context.work)
        assert found.level is Level.WARNING and said in found.seen


@pytest.mark.parametrize(("free", "level"), [(20_000, Level.GOOD), (5_500, Level.WARNING), (4_999, Level.STOPS)])
def test_free_disk_against_what_is_still_to_be_written(
    free: int, level: Level, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 bytes of corpus and 4,000 of checkpoints; a twentieth of 20,000 should be left."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(20_000, 20_000 - free, free))
    assert places.disk(context, 4_000).level is level


def test_finished_shards_need_no_disk(context: Context) -> None:
    context.shards.mkdir()
    Manifest(stage="convert", fingerprint="f").write(context.shards)
    assert "shards 0.0" in places.disk(context, None).seen and "checkpoints unknown" in places.disk(context, None).seen


def test_shards_that_were_cut_changed_or_removed(context: Context) -> None:
    assert places.shards(context, deep=False).level is Level.UNKNOWN
    folder = context.shards / "set"
    folder.mkdir(parents=True)
    (folder / "000.tar").write_bytes(b"x" * 100)
    assert places.shards(context, deep=False).level is Level.UNKNOWN, "not finished"
    outputs = {"files": inventory(context.shards), "content": "c"}
    Manifest(stage="convert", fingerprint="f", outputs=outputs).write(context.shards)
    assert places.shards(context, deep=False).level is Level.GOOD
    (folder / "000.tar").write_bytes(b"x" * 99)
    assert places.shards(context, deep=False).level is Level.STOPS
    found = places.shards(context, deep=True)
    assert found.level is Level.STOPS and "findings, the first" in found.seen
    (context.shards / "manifest.json").write_text("{")
    assert places.shards(context, deep=False).level is Level.STOPS


def forecast(misfit: bool) -> Any:
    def refuse() -> None:
        if misfit:
            raise ConfigError("tiny needs 90.0 GiB and there are 78.0; most of it is weights, 80 GiB: set phases.0.zero_stage=3")

    phase = SimpleNamespace(name="train", keep_checkpoints=2, keep_every=100, steps=250)
    return SimpleNamespace(
        recipe=SimpleNamespace(phase=phase),
        memory=SimpleNamespace(total=90 << 30),
        weights=SimpleNamespace(trained=[1000]),
        num_gpus=8,
        gpu=GPUS["a800-80g"],
        refuse_misfit=refuse,
    )


def test_memory_that_fits_that_does_not_and_that_is_not_known(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = machine.Fleet(gpu=GPUS["a800-80g"], num_gpus=8)
    (found,), nothing = machine.memory(context, None, fleet)
    assert (found.level, nothing) == (Level.UNKNOWN, None)
    for misfit, level in ((False, Level.GOOD), (True, Level.STOPS)):
        monkeypatch.setattr(machine, "_forecast", lambda *_, misfit=misfit: forecast(misfit))
        (found,), kept = machine.memory(context, context.work, fleet)
        assert found.level is level
        assert kept == 6 * 12_000, "two kept, one in the writing, steps 100 and 200, the best: weight and both moments in float32"
    assert found.advice == "set phases.0.zero_stage=3"


@contextmanager
def server(status: int, said: object) -> Iterator[str]:
    """An endpoint that lists models, or refuses to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(said).encode()
            self.send_response(status if self.path == "/v1/models" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *of: object) -> None: ...

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/v1"
    served.shutdown()
    served.server_close()


@pytest.mark.parametrize(
    ("status", "said", "level", "words"),
    [
        (200, {"data": [{"id": "big"}]}, Level.GOOD, "serves big"),
        (200, {"data": [{"id": "other"}]}, Level.STOPS, "serves other"),
        (200, ["nothing"], Level.STOPS, "serves no model"),
        (401, {}, Level.STOPS, "does not take the key"),
        (500, {}, Level.WARNING, "answers 500"),
    ],
)
def test_endpoints_that_answer_refuse_or_serve_another_model(status: int, said: object, level: Level, words: str) -> None:
    with server(status, said) as url:
        (found,) = services.endpoints([url], "big")
    assert found.level is level and words in found.seen


def test_an_endpoint_that_is_down_and_addresses_that_are_none(tmp_path: Path) -> None:
    for url, words in (("http://127.0.0.1:9/v1", "refused"), (str(tmp_path / "none"), "neither an address nor a file")):
        (found,) = services.endpoints([url], "big")
        assert found.level is Level.STOPS and words in found.seen.lower()
    assert list(services.endpoints([], "big")) == []


def test_a_store_of_runs_that_is_away_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(uri: str) -> None:
        raise PipelineError(f"{uri}: no route to host")

    assert services.tracking("offline").level is Level.GOOD
    monkeypatch.setattr(services, "check_store", away)
    found = services.tracking("http://host:5000")
    assert found.level is Level.WARNING and "crem sync" in found.advice


def test_gpus_without_a_driver_without_cuda_and_with_a_driver_that_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it")

    driver = tmp_path / "version"
    assert machine.gpus(driver).level is Level.UNKNOWN
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021\n")
    monkeypatch.setattr(torch.version, "cuda", None)
    found = machine.gpus(driver)
    assert found.level is Level.STOPS and "470.82.01" in found.seen and "without CUDA" in found.seen
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "init", too_old)
    found = machine.gpus(driver)
    assert found.level is Level.STOPS and "is too old" in found.seen and "CUDA 12.8 is needed" in found.advice


def test_switches_that_let_libraries_out() -> None:
    assert levels(machine.offline(dict(machine.OFFLINE))) == {"offline": Level.GOOD}
    (found,) = machine.offline({**machine.OFFLINE, "HF_HUB_OFFLINE": "0"})
    assert found.level is Level.WARNING and "export HF_HUB_OFFLINE=1;" in found.advice


def test_nodes_are_tried_inside_an_allocation_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nodes.nodes({}).level is Level.UNKNOWN
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = {**os.environ, "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "localhost"}
    for script, level, words in (
        ("echo '2 nodes over gloo'", Level.GOOD, "2 nodes over gloo"),
        ("echo 'NCCL error' >&2; exit 1", Level.STOPS, "NCCL error"),
        ("exec sleep 30", Level.STOPS, "did not meet at 127.0.0.1:20007 in 1 s"),
    ):
        (tmp_path / "srun").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "srun").chmod(0o755)
        found = nodes.nodes(job, seconds=1 if "sleep" in script else 60)
        assert found.level is level and words in found.seen
    (tmp_path / "srun").write_text("#!/bin/sh\necho met at $MASTER_ADDR\n")
    nameless = {**job, "SLURM_JOB_NODELIST": "no-such-node.invalid"}
    found = nodes.nodes(nameless, seconds=1)
    assert found.level is Level.STOPS and "does not resolve" in found.seen
    (tmp_path / "scontrol").write_text(
        "#!/bin/sh\n[ $2 = node ] && echo 'NodeName=no-such-node.invalid' && echo ' NodeAddr=127.0.0.2 X=1'\n"
    )
    (tmp_path / "scontrol").chmod(0o755)
    assert nodes.nodes(nameless, seconds=60).seen == "met at 127.0.0.2"


def test_nodes_of_ipv6_alone_and_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET6, 1, 6, "", ("fd00::7", 0)), (socket.AF_INET, 1, 6, "", ("10.0.0.7", 0))]
    for found, address in ((both, "10.0.0.7"), (both[:1], "fd00::7")):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, found=found, **__: found)
        assert nodes._resolved("node7") == address


def test_the_table_says_what_to_do_below_each_line() -> None:
    lines = table([good("a", "fine"), warning("long subject", "so\nso", "do this"), stops("b", "bad", "do that")]).splitlines()
    assert lines == [
        "a             ok       fine",
        "long subject  warning  so so",
        "                       -> do this",
        "b             stops    bad",
        "                       -> do that",
    ]


def test_the_command_fails_where_something_would_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "offline")
    words = ["--recipe", "tiny", "--work", str(tmp_path / "work")]
    said = CliRunner().invoke(doctor, words, catch_exceptions=False)
    assert said.exit_code == 0 and "work folder" in said.output
    said = CliRunner().invoke(doctor, [*words, "--data", str(tmp_path / "none")])
    assert isinstance(said.exception, PipelineError) and "1 of " in str(said.exception)
    assert not (tmp_path / "work").exists(), "nothing is changed"
