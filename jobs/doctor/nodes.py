"""The nodes of a Slurm allocation, tried as a training would use them."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping

from jobs.doctor.finding import Finding, good, stops, unknown

SECONDS = 180.0
_JOIN = 'export RANK=$SLURM_PROCID LOCAL_RANK=0 WORLD_SIZE=$SLURM_NTASKS; exec "$0" -m jobs.doctor.meeting'


def nodes(variables: Mapping[str, str] = os.environ, seconds: float = SECONDS) -> Finding:
    """Whether the allocation's nodes find one another and add up a tensor; not looked at outside of one of several nodes."""
    count = int(variables.get("SLURM_JOB_NUM_NODES") or 0)
    if count < 2 or shutil.which("srun") is None:
        seen = "no Slurm allocation of several nodes here"
        return unknown("nodes", seen, "look from inside one: salloc --nodes 2 --gpus-per-node 8 crem doctor ...")
    first = _first_node(variables["SLURM_JOB_NODELIST"])
    address = _resolved(first) or _of_slurm(first)
    if address is None:
        return stops("nodes", f"{first}: its name does not resolve here, and Slurm knows no address", "ask your administrators")
    port = 20000 + int(variables["SLURM_JOB_ID"]) % 40000
    each = ["srun", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    environment = {**variables, "MASTER_ADDR": address, "MASTER_PORT": str(port)}
    try:
        done = subprocess.run(
            [*each, "bash", "-c", _JOIN, sys.executable],
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return stops("nodes", f"{count} nodes did not meet at {address}:{port} in {seconds:.0f} s", _ADVICE)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["nothing was said"]
    return good("nodes", lines[-1]) if done.returncode == 0 else stops("nodes", f"{address}:{port}: {lines[-1]}", _ADVICE)


_ADVICE = "set NCCL_SOCKET_IFNAME and NCCL_IB_HCA for these nodes (docs/cluster.md), and look for a firewall between them"


def _first_node(nodes: str) -> str:
    return (_scontrol("show", "hostnames", nodes).split() or [nodes])[0]


def _resolved(name: str) -> str | None:
    """An address of a name: IPv4 where there is one, else IPv6, as launchers/slurm_train.sh has it."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return None
    return str(min(found, key=lambda item: item[0] != socket.AF_INET)[4][0])


def _of_slurm(node: str) -> str | None:
    """What Slurm's configuration says where names do not resolve: NodeAddr, itself an address or a name."""
    found = re.search(r"\bNodeAddr=(\S+)", _scontrol("show", "node", node))
    return _resolved(found[1]) if found and found[1] != node else None


def _scontrol(*words: str) -> str:
    try:
        return subprocess.run(["scontrol", *words], capture_output=True, text=True, timeout=SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
