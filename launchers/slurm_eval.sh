#!/usr/bin/env bash
# Evaluate on a Slurm cluster: the same `python -m eval.mmeb` on every GPU of every node, which share each set's work.
#
#   sbatch --nodes 2 --gpus-per-node 8 --ntasks-per-node 8 --cpus-per-task 4 launchers/slurm_eval.sh \
#     --work runs/crem_2b --run-id RUN_ID --data corpora
#
# Whatever follows the script's name goes to `python -m eval.mmeb`; sbatch options come before it. Submit from the repository's
# root, with .venv, the data, and the work folder on a file system that all nodes share: the ranks hand embeddings over in
# <work>/embeddings. One task is one GPU; a core is for the rank, the others of --cpus-per-task decode pictures.
#
# Two minutes before the time limit the batch shell gets USR1, ends the tasks and puts the job back into the queue, and so does
# Slurm after preemption and node failure: the next run embeds what is missing. A kill costs no more than some twenty seconds.
#SBATCH --job-name=crem-eval
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -uo pipefail

root=${SLURM_SUBMIT_DIR:-$PWD}
python=${CREM_PYTHON:-$root/.venv/bin/python}
cd "$root" || exit 1
[ -x "$python" ] || { echo "error: $python: not there; run make setup in $root, or set CREM_PYTHON" >&2; exit 1; }

# The first node of the job is where the ranks meet. Its name is resolved here: torch would wait for ten minutes and more on a
# name that does not resolve, without an error.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(getent ahostsv4 "$first" | awk 'NR == 1 { print $1 }')
[ -n "$MASTER_ADDR" ] || { echo "error: node name $first does not resolve here; ask your administrators" >&2; exit 1; }
export MASTER_ADDR
# Jobs that share a node need different ports.
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 40000))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
# Since Slurm 22.05 srun does not take this over from sbatch by itself.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
echo "eval.mmeb on $SLURM_JOB_NUM_NODES nodes, $SLURM_NTASKS ranks, start ${SLURM_RESTART_COUNT:-0}, meeting at $first ($MASTER_ADDR:$MASTER_PORT)"

# srun runs in the background: a shell that waits in the foreground would take the signal only when it is too late.
srun --kill-on-bad-exit=1 bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  LOCAL_WORLD_SIZE=${SLURM_STEP_TASKS_PER_NODE%%[(,]*}
  # Each task is bound to the cores of its own, where --cpus-per-task gave it some: those are not shared.
  [ "${SLURM_CPUS_PER_TASK:-1}" -eq 1 ] || LOCAL_WORLD_SIZE=1
  export LOCAL_WORLD_SIZE
  # Where each task sees only its own GPU, that one has number 0.
  case ${CUDA_VISIBLE_DEVICES:-,} in *,*) ;; *) LOCAL_RANK=0 ;; esac
  exec "$0" -m eval.mmeb "$@"' "$python" "$@" &
srun_pid=$!

# What was embedded is kept, so the tasks need not be asked: srun ends them at TERM.
must_requeue=
trap 'must_requeue=yes; echo "time is nearly up: the job goes back into the queue"; kill -TERM "$srun_pid" 2>/dev/null' USR1
# scancel, requeue, and preemption: Slurm itself requeues or ends the job.
trap 'must_requeue=; kill -TERM "$srun_pid" 2>/dev/null' TERM

# A trapped signal ends `wait` early, so it is repeated until srun itself is gone; then its exit code counts.
while :; do
  wait "$srun_pid"
  code=$?
  kill -0 "$srun_pid" 2>/dev/null || break
done
if [ "$code" -ne 0 ] && [ -n "$must_requeue" ]; then
  scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
exit "$code"
