"""The faults. Each breaks one thing at a moment drawn by the seed, and leaves off where a user would give his command again."""

import resource
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from data_prep import scene_server
from jobs.drill.child import Child
from jobs.drill.scene import Scene, free_port
from jobs.drill.toy_run import steps_noted
from pipeline.tracking import serve_store
from pipeline.train import checkpoint

Fault = Callable[[Scene], None]
STAGES = ("shards", "qa", "model", "lengths")
DAY = 86400.0


def rank_killed(scene: Scene) -> None:
    """SIGKILL of one of two ranks, as a node's out-of-memory killer does: the other must not wait for it for ever."""
    scene.num_ranks = 2
    ranks = scene.start_ranks("train")
    step, victim = scene.at_step(ranks[0]), scene.rng.randrange(2)
    ranks[victim].kill()
    scene.moment = f"rank {victim} of 2 after step {step}"
    scene.finish(*ranks)


def launcher_killed(scene: Scene) -> None:
    """SIGKILL of the command that runs the chain, in any stage."""
    first = scene.rng.choice(STAGES)
    for name in STAGES[STAGES.index(first) :]:
        shutil.rmtree(scene.work / name)
    seconds = scene.rng.uniform(0.2, 6.0)
    chain = scene.start("run", "--until", "train")
    chain.wait(time.monotonic() + seconds)
    chain.kill()
    scene.finish(chain)
    scene.moment = f"{seconds:.1f} s into a chain from {first} on"
    scene.again = ["run", "--until", "train"]


def server_killed(scene: Scene) -> None:
    """SIGKILL of the teacher's server while it is asked, and the same server again a little later."""
    port = free_port()
    server, asked = scene.serve_scenes(port), _asked(scene, port)
    bytes_answered = scene.rng.randrange(200, 4000)
    scene.until(lambda: _size(scene.work / "qa") > bytes_answered, asked)
    server.kill()
    time.sleep(scene.rng.uniform(0.0, 1.0))
    scene.serve_scenes(port)
    scene.finish(asked)
    scene.moment = f"after {bytes_answered} bytes of answers"


def endpoint_down(scene: Scene) -> None:
    """Nothing listens at the endpoint when the synthesis begins; it comes a little later."""
    port, seconds = free_port(), scene.rng.uniform(0.5, 3.0)
    asked = _asked(scene, port)
    asked.wait(time.monotonic() + seconds)
    scene.moment = f"for {seconds:.1f} s"
    if asked.poll() is None:
        scene.serve_scenes(port)
    if scene.finish(asked):
        scene.serve_scenes(port)
        scene.finish(_asked(scene, port, is_fresh=False))


def disk_full(scene: Scene) -> None:
    """No file may grow past a size, as on a full disk or over a quota: a checkpoint, or the log of steps, cannot be written."""
    largest = scene.rng.choice((300, 2_000, 20_000, 60_000))
    trained = scene.start("train", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY)))
    scene.finish(trained)
    scene.moment = f"files of at most {largest} bytes"


def tracker_restarted(scene: Scene) -> None:
    """SIGKILL of MLflow's server in mid-training, and a new one on its store: at once, or when the training is over."""
    port = free_port()
    store = scene.work.with_suffix(".server") / "mlflow.db"
    run = partial(serve_store, store, port)
    server = scene.serve(run, port)
    scene.variables["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    trained = scene.start("train")
    step = scene.at_step(trained)
    server.kill()
    scene.finish(server)
    comes_back = scene.rng.random() < 0.5
    if comes_back:
        scene.serve(run, port)
    scene.finish(trained)
    scene.moment = f"after step {step}, back {'at once' if comes_back else 'after the end'}"
    if not comes_back:
        scene.serve(run, port)
    scene.finish(scene.start_plain("sync"))


def checkpoint_truncated(scene: Scene) -> None:
    """A file of the newest checkpoint is cut, as a copy that was broken off leaves it."""
    stop = scene.rng.choice((2, 4))
    scene.finish(scene.start("train", "--stop-after", str(stop)))
    newest = checkpoint.steps(scene.work / "train" / "checkpoints")[0]
    victim = scene.rng.choice(sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size))
    content = victim.read_bytes()
    kept = scene.rng.randrange(len(content))
    victim.write_bytes(content[:kept])
    scene.moment = f"{newest.name}/{victim.name} at {kept} of {len(content)} bytes"


def shard_deleted(scene: Scene) -> None:
    """A shard is gone, before the training or under it; after the error, the conversion is run again."""
    victim = scene.rng.choice(sorted((scene.work / "shards").rglob("*.tar")))
    if scene.rng.random() < 0.5:
        trained = scene.start("train")
        step = scene.at_step(trained)
        scene.moment = f"{victim.parent.name}/{victim.name} after step {step}"
        victim.unlink()
    else:
        victim.unlink()
        trained = scene.start("train")
        scene.moment = f"{victim.parent.name}/{victim.name} before the start"
    scene.finish(trained)
    scene.finish(scene.start("convert"))


def clock_jumped(scene: Scene) -> None:
    """The wall clock jumps by up to three days, either way, in mid-training."""
    jump, step = scene.rng.uniform(-3 * DAY, 3 * DAY), scene.rng.randint(1, 4)
    scene.finish(scene.start("train", before=lambda: _jump_later(scene.work, step, jump)))
    scene.moment = f"{jump / DAY:+.2f} days after step {step}"


FAULTS: Mapping[str, Fault] = {
    "rank killed": rank_killed,
    "launcher killed": launcher_killed,
    "teacher's server killed": server_killed,
    "endpoint down": endpoint_down,
    "disk full": disk_full,
    "MLflow server killed": tracker_restarted,
    "checkpoint truncated": checkpoint_truncated,
    "shard deleted": shard_deleted,
    "clock jump": clock_jumped,
}


def _asked(scene: Scene, port: int, *, is_fresh: bool = True) -> Child:
    """The synthesis, from its beginning unless it is to be gone on with."""
    if is_fresh:
        shutil.rmtree(scene.work / "qa")
    return scene.start("synthesize", "--url", f"http://127.0.0.1:{port}/v1", "--teacher", scene_server.MODEL_NAME)


def _jump_later(work: Path, step: int, jump: float) -> None:
    real = time.time

    def wait() -> None:
        while steps_noted(work) < step:
            time.sleep(0.01)
        time.time = lambda: real() + jump

    threading.Thread(target=wait, daemon=True).start()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
