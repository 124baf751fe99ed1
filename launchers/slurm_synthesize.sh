#!/usr/bin/env bash
# Synthesize on a Slurm cluster: each task of the array starts a vLLM server on its node and asks it about one slice.
#
#   sbatch --array=0-3 --gres=gpu:1 launchers/slurm_synthesize.sh --recipe coma_3b --data corpora --work runs/coma_3b
#   CREM_SLICES=4 sbatch --array=2 --gres=gpu:1 launchers/slurm_synthesize.sh --recipe coma_3b --data corpora --work runs/coma_3b
#
# The second line asks about slice 2 again after its task failed: nothing that was answered is asked twice. Whatever follows the
# script's name goes to `crem synthesize`, which, once more without --shard-index and with any --url, takes all slices in. Submit
# from the repository's root, with .venv, data and work folder on a file system that all nodes share.
#
#   CREM_SERVE    what starts the server; PORT stands for its port. Default: vllm serve <CREM_TEACHER> --port PORT
#   CREM_TEACHER  the model that it serves. Default: Qwen/Qwen2.5-VL-7B-Instruct
#   CREM_WAIT     seconds that the server may take to answer at /health. Default: 1800
#SBATCH --job-name=crem-synthesize
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -uo pipefail

root=${SLURM_SUBMIT_DIR:-$PWD}
python=${CREM_PYTHON:-$root/.venv/bin/python}
cd "$root" || exit 1
[ -x "$python" ] || { echo "error: $python: not there; run make setup in $root, or set CREM_PYTHON" >&2; exit 1; }
[ -n "${SLURM_ARRAY_TASK_ID:-}" ] || { echo "error: no array task; submit with sbatch --array=0-3 and the like" >&2; exit 1; }

teacher=${CREM_TEACHER:-Qwen/Qwen2.5-VL-7B-Instruct}
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])') || exit 1
serve=${CREM_SERVE:-vllm serve $teacher --port PORT}
read -ra serve <<<"${serve//PORT/$port}"

# A group of its own, so that the server ends with all that it started, however this script ends.
set -m
"${serve[@]}" &
server=$!
set +m
client=
finish() { kill -- "-$server" 2>/dev/null; wait "$server" 2>/dev/null; }
trap finish EXIT
trap '[ -n "$client" ] && kill "$client" 2>/dev/null; exit 143' TERM INT

end=$((SECONDS + ${CREM_WAIT:-1800}))
until "$python" -c 'import sys, urllib.request as r
r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=5)' "http://127.0.0.1:$port/health" 2>/dev/null; do
  kill -0 "$server" 2>/dev/null || { echo "error: the server ended before it was up; its own words stand above" >&2; exit 1; }
  [ "$SECONDS" -lt "$end" ] || { echo "error: the server was not up within ${CREM_WAIT:-1800} s (CREM_WAIT)" >&2; exit 1; }
  sleep 1
done

export OMP_NUM_THREADS=1
"$python" -m launchers.cli synthesize --shard-index "$SLURM_ARRAY_TASK_ID" --num-shards "${CREM_SLICES:-$SLURM_ARRAY_TASK_COUNT}" \
  --url "http://127.0.0.1:$port/v1" --teacher "$teacher" "$@" &
client=$!
wait "$client"
