#!/usr/bin/env bash
# Train on a Slurm cluster: the same `crem train` on every GPU of every node.
#
#   sbatch --nodes 2 --gpus-per-node 8 --ntasks-per-node 8 --cpus-per-task 4 launchers/slurm_train.sh \
#     --recipe crem_2b --work runs/crem_2b
#
# Whatever follows the script's name goes to `crem train`; sbatch options come before it. Submit from the repository's root,
# with .venv and the work folder on a file system that all nodes share. Prepare shards, QA, model and lengths beforehand,
# with `crem run --until measure` and the same --recipe, --work and --data.
#
# One task is one GPU. Without --cpus-per-task Slurm gives it one core, which the rank and its loader would share: by forecast one
# loader process has 0.8 to 0.9 of a core to do for an H100. Give a core to the rank, one to each loader process (--workers), and
# one or two to spare. Two minutes before the time limit the batch shell gets USR1; it asks the tasks to stop, which end their
# step, write a checkpoint and leave with exit code 75, and puts the job back into the queue. The next run goes on from there.
# The same holds after preemption; after node failure it goes on from the newest checkpoint. Give steps that take longer more time:
# sbatch --signal=B:USR1@600. A job whose ranks found one another hung goes back too, at most CREM_MAX_HANGS (3) times.
#SBATCH --job-name=crem-train
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -uo pipefail

root=${SLURM_SUBMIT_DIR:-$PWD}
python=${CREM_PYTHON:-$root/.venv/bin/python}
cd "$root" || exit 1
[ -x "$python" ] || { echo "error: $python: not there; run make setup in $root, or set CREM_PYTHON" >&2; exit 1; }

# The first node of the job, which this script runs on, is where the ranks meet. Its name is resolved here: torch would wait for
# ten minutes and more on a name that does not resolve, without an error. Nodes may have IPv6 alone; where their names do not
# resolve, Slurm's configuration may hold an address.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address_of() { { getent ahostsv4 "$1"; getent ahosts "$1"; } | awk 'NR == 1 { print $1 }'; }
MASTER_ADDR=$(address_of "$first")
[ -n "$MASTER_ADDR" ] || MASTER_ADDR=$(address_of "$(scontrol show node "$first" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')")
[ -n "$MASTER_ADDR" ] || { echo "error: node name $first does not resolve here; ask your administrators" >&2; exit 1; }
export MASTER_ADDR
# Jobs that share a node need different ports, and another program may have taken this one's.
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 40000))
for _ in $(seq 64); do
  # Sockets that listen (0A), as the kernel lists them; to connect would wait where a firewall drops what comes.
  grep -qE ":$(printf %04X "$MASTER_PORT") [0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6 2>/dev/null || break
  echo "port $MASTER_PORT is taken: the ranks meet at the next one"
  MASTER_PORT=$((MASTER_PORT + 1))
done
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
# Segments that grow lose less memory between blocks. torch reads either name, the older one first.
[ -n "${PYTORCH_CUDA_ALLOC_CONF+set}" ] || export PYTORCH_ALLOC_CONF=${PYTORCH_ALLOC_CONF-expandable_segments:True}
# Since Slurm 22.05 srun does not take this over from sbatch by itself.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

[ "${SLURM_CPUS_PER_TASK:-1}" -gt 1 ] ||
  echo "warning: one core a task: each rank shares it with its loader, and GPUs wait; submit with --cpus-per-task=4" >&2
echo "crem train on $SLURM_JOB_NUM_NODES nodes, $SLURM_NTASKS ranks, start ${SLURM_RESTART_COUNT:-0}, meeting at $first ($MASTER_ADDR:$MASTER_PORT)"

# A rank that finds itself hung says so in this file: srun's exit code would be that of the ranks it then kills.
export CREM_HUNG_NOTE=$root/.crem-hung-$SLURM_JOB_ID
hangs=$root/.crem-hangs-$SLURM_JOB_ID
rm -f "$CREM_HUNG_NOTE"

# srun runs in the background: a shell that waits in the foreground would take the signal only when it is too late.
srun --kill-on-bad-exit=1 bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  # Where each task sees only its own GPU, that one has number 0.
  case ${CUDA_VISIBLE_DEVICES:-,} in *,*) ;; *) LOCAL_RANK=0 ;; esac
  exec "$0" -m launchers.cli train "$@"' "$python" "$@" &
srun_pid=$!

# srun passes USR1 on to every task, once. TERM it does not pass on: it kills the tasks at once, before they have saved anything.
must_requeue=
out_of_time() {
  must_requeue=yes
  echo "time is nearly up: stopping the ranks and putting the job back into the queue"
  kill -USR1 "$srun_pid" 2>/dev/null
}
trap out_of_time USR1
# scancel, requeue, and preemption without a grace time: Slurm itself requeues or ends the job, and has told the ranks too.
ended_by_slurm=
trap 'ended_by_slurm=yes; kill -USR1 "$srun_pid" 2>/dev/null' TERM

# A trapped signal ends `wait` early, so it is repeated until srun itself is gone; then its exit code counts.
while :; do
  wait "$srun_pid"
  code=$?
  kill -0 "$srun_pid" 2>/dev/null || break
done
[ "$code" -ne 0 ] || { rm -f "$hangs"; exit 0; }
case $ended_by_slurm$(scontrol show job "$SLURM_JOB_ID") in
  # The limit was reached while the ranks were still writing; only after USR1, or the job would begin again for ever.
  *' Reason=TimeLimit '*) ;;
  # scancel after USR1: a requeue would bring the cancelled job back.
  yes*) must_requeue= ;;
  # Preemption with a grace time tells only the tasks at first; a job that ends within it would count as failed.
  *' PreemptTime=2'*) must_requeue=yes ;;
esac
if [ -e "$CREM_HUNG_NOTE" ] && [ -z "$ended_by_slurm" ]; then
  rm -f "$CREM_HUNG_NOTE"
  echo >>"$hangs"
  # A node that hangs is often another one's fault; a program that always hangs must not run for ever.
  if [ "$(wc -l <"$hangs")" -le "${CREM_MAX_HANGS:-3}" ]; then
    must_requeue=yes
    echo "a rank hung, for the $(wc -l <"$hangs"). time: the job goes back into the queue"
  else
    echo "error: ranks hung $(wc -l <"$hangs") times: the job ends; the stacks above say where" >&2
    rm -f "$hangs"
  fi
fi
if [ -n "$must_requeue" ]; then
  scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
exit "$code"
