#!/usr/bin/env bash
# Convert a corpus on a Slurm cluster: each task of the array makes one slice of the shards.
#
#   sbatch --array=0-15 --cpus-per-task=8 launchers/slurm_convert.sh --data corpora --work runs/data
#   CREM_SLICES=16 sbatch --array=5 --cpus-per-task=8 launchers/slurm_convert.sh --data corpora --work runs/data
#
# The second line makes slice 5 again after its task failed: CREM_SLICES says how many there were. Whatever follows the script's
# name goes to `crem convert`. Submit from the repository's root, with .venv, data and work folder on a file system that all nodes
# share. No task waits for another; `crem data merge` with the same options makes the whole, as a job that depends on this one.
#SBATCH --job-name=crem-convert
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -uo pipefail

root=${SLURM_SUBMIT_DIR:-$PWD}
python=${CREM_PYTHON:-$root/.venv/bin/python}
cd "$root" || exit 1
[ -x "$python" ] || { echo "error: $python: not there; run make setup in $root, or set CREM_PYTHON" >&2; exit 1; }
[ -n "${SLURM_ARRAY_TASK_ID:-}" ] || { echo "error: no array task; submit with sbatch --array=0-15 and the like" >&2; exit 1; }

# One core a worker: the libraries below would start threads of their own.
export OMP_NUM_THREADS=1
exec "$python" -m launchers.cli convert --shard-index "$SLURM_ARRAY_TASK_ID" --num-shards "${CREM_SLICES:-$SLURM_ARRAY_TASK_COUNT}" \
  --workers "${SLURM_CPUS_PER_TASK:-1}" "$@"
