#!/bin/bash
#SBATCH --job-name=s1x
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=s1x-%j.log

# One run over a Slurm allocation: trains on its nodes, evaluates with engines wherever there is room.
#
#     sbatch examples/slurm_ray.sh +experiment=s1k scale=h100x16
#
# Ray starts on the nodes as its documentation on Slurm has it. Ten minutes before the time limit, or
# before it is preempted (PreemptParameters=send_user_signal), the job gets SIGTERM: training writes a
# checkpoint, an evaluation closes its stores. The job is then queued again and goes on where it was.

set -u
command -v ray >/dev/null || {
    echo "there is no ray on the PATH: activate the environment that has s1x and its extra ray first" >&2
    exit 1
}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
step() { srun --overlap --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=0 "$@"; }

ip=$(step --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" hostname --ip-address)
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_ADDRESS=${ip%% *}:$port
export RAY_TMPDIR=/tmp/s1x-$SLURM_JOB_ID # of this job alone: what it leaves misleads no other
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token} # only who has ~/.ray/auth_token may connect
[ "$RAY_AUTH_MODE" != token ] || ray get-auth-token --generate >/dev/null || exit 1
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # nobody is to be waited for at the end
has=(--num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")
has+=(--block --disable-usage-stats --log-color=false)

step --nodes=1 --ntasks=1 --nodelist="${nodes[0]}" \
    ray start --head --node-ip-address="${ip%% *}" --port="$port" --include-dashboard=false "${has[@]}" &
ray_steps=($!)
until ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; do
    kill -0 "${ray_steps[0]}" || exit 1
    sleep 1
done
if ((${#nodes[@]} > 1)); then
    step --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="${nodes[0]}" \
        ray start --address="$RAY_ADDRESS" "${has[@]}" &
    ray_steps+=($!)
fi

noticed=
trap 'noticed=yes; kill -TERM "$run"' TERM
python run.py "$@" workers=ray &
run=$!
wait "$run"
status=$?
while kill -0 "$run" 2>/dev/null; do # the notice ended the wait, not the run
    wait "$run"
    status=$?
done

kill "${ray_steps[@]}"
wait "${ray_steps[@]}"
step --nodes="${#nodes[@]}" --ntasks="${#nodes[@]}" rm -rf "$RAY_TMPDIR"
if [ "$noticed" ] && ((status != 0)); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
