"""A real Slurm cluster of two nodes on this machine: each node has its own name, address and processes, and one file system.

All of it lives in namespaces below one process and in one folder; whoever kills the process ends the cluster and its jobs.
There are no cgroups (no limits of memory or devices), no GPUs and no accounting.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FILES = Path(__file__).parent / "cluster_files"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "munged", "ip", "unshare", "nsenter", "pgrep")
INSTALL = "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge iproute2"
SPACES = ("--net", "--uts", "--mount", "--pid")
START_SECONDS = 60.0
POLL_SECONDS = 0.1
PATIENCE = 600.0
"""Seconds that a job may take: the machine may be busy."""
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL")


def missing() -> str:
    """What this machine lacks for a cluster, in words; empty when it can hold one."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not on PATH ({INSTALL})"
    if os.getuid() != 0:
        return "a cluster in namespaces needs root"
    probe = ["unshare", *SPACES, "--fork", "ip", "link", "add", "probe0", "type", "bridge"]
    ended = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"namespaces with a bridge: {ended.stderr.strip()}" if ended.returncode else ""


def wait_until(is_so: Callable[[], bool], what: str, seconds: float, details: Callable[[], str] = str) -> None:
    """Poll until it is so; fail with the details when the time is up."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}\n{details()}"
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its folder of logs and settings, and the process that holds it."""

    folder: Path
    head: int

    def run(self, *command: str | Path, cwd: Path = FILES, **names: str) -> str:
        """Run a command on the head node and return what it printed; `names` are environment variables."""
        first = subprocess.run(["pgrep", "-P", str(self.head)], capture_output=True, text=True, check=True).stdout.split()[0]
        inside = ["nsenter", "--target", first, *SPACES, "--", "env", "-C", str(cwd)]
        settings = [f"{name}={value}" for name, value in ({"SLURM_CONF": str(self.folder / "slurm.conf")} | names).items()]
        ended = subprocess.run([*inside, *settings, *map(str, command)], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{command[0]}: {ended.stderr}"
        return ended.stdout

    def submit(self, *command: str | Path, cwd: Path, **names: str) -> str:
        """Submit a script; returns the job's number."""
        return self.run("sbatch", "--parsable", *command, cwd=cwd, **names).strip()

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job: JobState, Restarts, Reason, ExitCode and more, by name."""
        words = self.run("scontrol", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: str, seconds: float, log: Path) -> dict[str, str]:
        """Wait until the job has ended for good and return what Slurm knows of it."""
        last: dict[str, str] = {}

        def has_ended() -> bool:
            last.update(self.job(number))
            return last["JobState"] in ENDED

        wait_until(
            has_ended, f"job {number} ends", seconds, lambda: f"{last}\n{log.read_text() if log.exists() else self.logs()}"
        )
        return last

    def lose(self, node: str) -> None:
        """A node dies with all that runs on it, and the controller is told at once."""
        self.run("kill", "-9", (self.folder / f"{node}.pid").read_text().strip())
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")

    def bring_back(self, node: str) -> None:
        """The lost node comes back empty."""
        cable = f"cable1{node[-1]}"  # it goes with the node's namespace, but not always before we are here
        self.run("sh", "-c", f"! ip link show {cable} 2>/dev/null || ip link delete {cable} || ! ip link show {cable}")
        self.run("bash", FILES / "node.sh", self.folder, node, f"1{node[-1]}")
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    def logs(self) -> str:
        """The last lines of every daemon."""
        files = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(f"== {file.name}\n" + "\n".join(file.read_text().splitlines()[-15:]) for file in files)


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    """Start a cluster, and end it with everything that runs on it."""
    # Munge refuses a socket below a folder that others may not enter, as pytest's are; and a long path.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    command = ["unshare", *SPACES, "--fork", "--kill-child", "--mount-proc", "bash", str(FILES / "head.sh"), str(folder)]
    with (
        (folder / "head.out").open("w") as out,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as head,
    ):
        cluster = Cluster(folder, head.pid)
        try:
            wait_until((folder / "ready").exists, "the cluster is up", START_SECONDS, cluster.logs)
            yield cluster
        finally:
            head.kill()
    shutil.rmtree(folder, ignore_errors=True)
