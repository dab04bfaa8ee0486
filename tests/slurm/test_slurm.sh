#!/bin/bash
# test_slurm.sh - the batch scripts against a real SLURM of three nodes, private to this script (up.sh). `make test-slurm`.
#
# Everything runs in namespaces of its own (processes, network, host name, mounts): no port, host name or process is shared
# with the machine, and when this script ends in any way, even by SIGKILL, the kernel ends every daemon and job with it.
if [ -z "${SLURM_TEST_INSIDE:-}" ]; then
  spaces=(unshare --pid --fork --kill-child --mount-proc --net --uts)
  if ! "${spaces[@]}" true; then
    echo "not ok namespaces: this test needs root, with the right to make namespaces (CAP_SYS_ADMIN)"
    echo "0 passed, 1 failed"
    exit 1
  fi
  SLURM_TEST_INSIDE=1 exec timeout -k 10 900 "${spaces[@]}" "$0" "$@"
fi
. "$(dirname "$0")/../lib.sh"
here=$top/tests/slurm
cd "$scratch" || exit 1
trap '"$here/down.sh" "$scratch/slurm"; cd /; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM # the first process of a PID namespace ignores what it does not handle
unset METAVAR METAVAR_LAUNCHER "${!SLURM_@}" "${!SBATCH_@}"

# --- the machine -----------------------------------------------------------------------------------------------
hostname metavar
printf '127.0.0.1 localhost\n10.99.0.1 metavar n1 n2 n3\n' >hosts
mount --bind hosts /etc/hosts
ip link set lo up
ip link add mv0 type veth peer name mv1 && ip addr add 10.99.0.1/24 dev mv0 # Open MPI sends nothing between hosts over lo
ip link set mv0 up && ip link set mv1 up
chmod 755 "$scratch" # munged wants to be reachable

results=$scratch/results
: >"$results"
report() { check "$@" | tee -a "$results"; }
METAVAR=$metavar "$here/test_script.sh" | tee -a "$results"
report "a cluster of three nodes is up" timeout -k 9 90 "$here/up.sh" "$scratch/slurm" 3 4
export SLURM_CONF=$scratch/slurm/slurm.conf

# --- helpers ------------------------------------------------------------------------------------------------------
field() { scontrol -o show job "$1" 2>&1 | grep -oE "(^| )$2=[^ ]*" | head -n 1 | cut -d= -f2; }
digest() { "$metavar" status "$1" --digest | awk '/^digest/ {print $2}'; }
samples() { "$metavar" status "$1" --json 2>/dev/null | sed -n 's/^ *"done": *\([0-9]*\).*/\1/p'; }
over() { case $(field "$1" JobState) in COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL | PREEMPTED) ;; *) false ;; esac }
ended() { over "$1" && sleep 1 && over "$1"; } # not on its way back into the queue
within() { # SECONDS COMMAND...: waits until the command succeeds
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || { echo "timed out: $*"; squeue; return 1; }
    sleep 0.3
  done
}
started() { [ "$(samples "$1")" -gt 0 ] 2>/dev/null; } # something is stored
is() { [ "$1" = "$2" ] || { echo "found '$1', expected '$2' ($3)"; find . -maxdepth 1 -name '*-*.log' -printf '%T@ %p\n' | sort -n | tail -n 2 | cut -d' ' -f2 | xargs -r tail -n 15; return 1; }; }
finished() { # JOBID RUN DIGEST [LEAST RESTARTS]
  within 240 ended "$1" && is "$(field "$1" JobState)" COMPLETED "state of job $1" && is "$(digest "$2")" "$3" "digest of $2" &&
    { [ "$(field "$1" Restarts)" -ge "${4:-0}" ] || is "$(field "$1" Restarts)" "${4:-0} or more" restarts; }
}
local_digest() { mpirun -np 2 "$metavar" run "$1" -o "$2" --quiet >/dev/null && digest "$2"; }
submit() { "$metavar" sbatch "$@" --submit; }

# --- jobs: of a second, and of some 20 s on one core ----------------------------------------------------
small=$top/tests/digest.yaml long=$scratch/long.yaml
sed 's/replicates: .*0000$/replicates: 20000/' "$top/jobs/demo.yaml" >"$long"
small_digest=$(local_digest "$small" local_small)
long_digest=$(local_digest "$long" local_long)
report "local runs to compare with" [ ${#small_digest}:${#long_digest} = 32:32 ]

# --- time limits: two one-rank jobs of a minute's limit, looked at further below -------------------------------
# The first gets the warning 50 s before the limit and queues itself again. The second is never warned, does not look at
# SLURM's clock, and starts late enough to be killed at its limit. Both use the slowest kernel, so that the first has more
# work than the half minute that SLURM may take to warn it.
export METAVAR_ISA=scalar
warned=$(submit "$long" -o run_warned -n 1 -t 1)
printf '#!/bin/bash\nsleep 40\nexec srun --mpi=pmix "$@"\n' >late
chmod +x late
sed '/^#SBATCH --signal/d' "$top/slurm/metavar.sbatch" >never_warned.sbatch
killed=$(METAVAR=$metavar METAVAR_LAUNCHER=$scratch/late sbatch --parsable -n 1 -t 1 never_warned.sbatch "$long" run_killed --max-time 1h)
unset METAVAR_ISA

# --- submit and finish -------------------------------------------------------------------------------------------
srun_job() { j=$(submit "$small" -o run_srun -n 6 -N 3) && finished "$j" run_srun "$small_digest" && grep -q 'srun --mpi=pmix' ./*-"$j".log; }
mpirun_job() { j=$(METAVAR_LAUNCHER="mpirun --bind-to none" submit "$small" -o run_mpirun -n 6 -N 3) && finished "$j" run_mpirun "$small_digest"; }
plain_script() { j=$(METAVAR=$metavar sbatch --parsable -n 2 "$top/slurm/metavar.sbatch" "$small" run_plain --quiet) && finished "$j" run_plain "$small_digest"; }
hosts_of() { is "$(sed -n 's/.*"hosts": *"\([^"]*\)".*/\1/p' "$1"/attempts/*.json | tail -n 1 | tr ',' '\n' | sed 's/(.*//' | sort -u | tr '\n' ' ')" "n1 n2 n3 " "hosts of $1"; }
report "sbatch --submit, srun --mpi=pmix, 6 ranks on 3 nodes: same digest as here" srun_job
report "it ran on three nodes" hosts_of run_srun
report "sbatch --submit, mpirun, 6 ranks on 3 nodes: same digest" mpirun_job
report "it ran on three nodes" hosts_of run_mpirun
report "slurm/metavar.sbatch by hand: same digest" plain_script
bad_run() { # an error is the answer, not a reason to go on: the directory holds another job
  j=$(submit "$long" -o run_srun -n 2 -t 5) && within 60 ended "$j" && is "$(field "$j" JobState)" FAILED state && is "$(field "$j" Restarts)" 0 restarts &&
    is "$(field "$j" ExitCode)" 78:0 "exit code"
}
report "a job that fails is not queued again, and has metavar's exit code" bad_run

stopped() { # metavar stop ends the job, not one attempt of it
  j=$(submit "$long" -o run_stopped -n 2) && within 40 started run_stopped && "$metavar" stop run_stopped && within 40 ended "$j" && sleep 8 &&
    is "$(field "$j" JobState)" FAILED state && is "$(field "$j" ExitCode)" 75:0 "exit code" && is "$(field "$j" Restarts)" 0 restarts
}
report "after metavar stop it is not queued again" stopped

# --- arrays, scaling ---------------------------------------------------------------------------------------------
array_jobs() {
  local i id
  mkdir -p "more jobs"
  for i in 1 2 3; do sed "s/^seed: .*/seed: $i/" "$small" >"more jobs/seed $i.yaml"; done
  id=$(METAVAR=$metavar METAVAR_HOME=$top sbatch --parsable --array=1-3 -n 2 "$top/slurm/array.sbatch" "runs of array" more\ jobs/*.yaml) || return
  for i in 1 2 3; do
    finished "${id}_$i" "runs of array/seed $i" "$(local_digest "more jobs/seed $i.yaml" "local $i")" || return
  done
}
report "an array: each task its own run, each the digest of a local run" array_jobs
scaling() {
  j=$(METAVAR=$metavar METAVAR_HOME=$top sbatch --parsable -N 2 -n 4 "$top/slurm/scaling.sbatch" "$small" scaling) && within 120 ended "$j" &&
    is "$(field "$j" JobState)" COMPLETED state && is "$(cut -d, -f1 scaling/scaling.csv | tr '\n' ' ')" "ranks 1 2 4 " "rank counts" &&
    is "$(awk -F, 'NR > 1 {print $NF}' scaling/scaling.csv | sort -u)" "$small_digest" "digests"
}
report "the scaling study: 1, 2, 4 ranks, one digest" scaling

# --- what became of the time limits ------------------------------------------------------------------------------
report "time limit shorter than the work: it queues itself again until done, same digest" finished "$warned" run_warned "$long_digest" 1
limit() { within 100 ended "$killed" && is "$(field "$killed" JobState)" TIMEOUT state && started run_killed && is "$(digest run_killed 2>/dev/null)" "" digest; }
resumed() { j=$(submit "$1" -o "$2" -n 2) && finished "$j" "$2" "$3"; }
report "killed at the time limit: what it did is stored" limit
report "submitted again, it goes on and gives the same digest" resumed "$long" run_killed "$long_digest"

# --- signals, preemption, scancel, with each launcher ------------------------------------------------------------
for launcher in "srun --mpi=pmix" "mpirun --bind-to none --mca odls_base_sigkill_timeout 30"; do
  word=${launcher%% *}
  export METAVAR_LAUNCHER=$launcher
  warning() {
    j=$(submit "$long" -o "run_usr1_$word" -n 4 -N 2) && within 40 started "run_usr1_$word" && scancel --signal=USR1 --batch "$j" &&
      finished "$j" "run_usr1_$word" "$long_digest" 1
  }
  report "$word: warned by SIGUSR1, it queues itself again and gives the same digest" warning
  preempted() {
    j=$(METAVAR=$metavar METAVAR_HOME=$top sbatch --parsable -p main -N 3 -n 6 "$top/slurm/preempt.sbatch" "$long" "run_preempted_$word") && within 40 started "run_preempted_$word" &&
      u=$(sbatch --parsable -p urgent --exclusive -N 3 -n 6 -o urgent.log --wrap 'sleep 1') && finished "$j" "run_preempted_$word" "$long_digest" 1 &&
      is "$(field "$u" JobState)" COMPLETED "state of the urgent job"
  }
  report "$word: preempted, it is queued again and gives the same digest" preempted
  cancelled() {
    j=$(submit "$long" -o "run_cancelled_$word" -n 4 -N 2) && within 40 started "run_cancelled_$word" && scancel "$j" && within 60 ended "$j" && sleep 8 &&
      is "$(field "$j" JobState)" CANCELLED state && is "$(field "$j" Restarts)" 0 restarts && started "run_cancelled_$word" &&
      [ "$(samples "run_cancelled_$word")" -lt "$(samples local_long)" ]
  }
  report "$word: cancelled, it stays cancelled" cancelled
  report "$word: a cancelled run goes on when submitted again" resumed "$long" "run_cancelled_$word" "$long_digest"
done
unset METAVAR_LAUNCHER

report "the cluster goes down" "$here/down.sh" "$scratch/slurm"
# shellcheck disable=SC2009 # pgrep would find this script
gone() { ! ps -eo comm= | grep -xE 'slurmctld|slurmd|slurmstepd|slurm_script|munged|metavar.*|srun|orted|mpirun'; }
report "nothing is left running" within 10 gone

passed=$(grep -c '^ok ' "$results") failed=$(grep -c '^not ok ' "$results")
echo "$passed passed, $failed failed ($SECONDS s)"
[ "$failed" -eq 0 ]
