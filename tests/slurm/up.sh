#!/bin/bash
# up.sh DIR [NODES] [CPUS] - a private SLURM on this host: munged, slurmctld and NODES slurmd, each with a host name of
# its own, all listening on loopback and keeping everything in DIR. No systemd, no cgroups, no accounting data base.
# Then: export SLURM_CONF=DIR/slurm.conf. Needs root (or root of a user namespace). down.sh DIR stops it.
#
# As in production: preemption between partitions, requeueing, several nodes. Unlike it: the delay before a requeued job
# starts again is 6 s, not two minutes (cred_expire), and warnings come within a few seconds (see SchedulerParameters).
set -eu
dir=${1:?usage: up.sh DIR [NODES] [CPUS]} nodes=${2:-3} cpus=${3:-2} port=${SLURM_TEST_PORT:-46820}
case $dir in /*) ;; *) echo "up.sh: DIR must be an absolute path" >&2; exit 2 ;; esac
[ -e "$dir/slurm.conf" ] && { echo "up.sh: $dir is in use" >&2; exit 1; }
mkdir -p "$dir"/{munge,state,log}
chmod 755 "$dir" "$dir/munge"
(umask 077; head -c 128 /dev/urandom >"$dir/munge/key")
host=$(hostname)

cat >"$dir/slurm.conf" <<CONF
ClusterName=metavar
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
TmpFS=$dir/tmp.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=10
MinJobAge=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=$cpus RealMemory=1000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=10 GraceTime=15 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=20 PreemptMode=OFF
CONF
echo 'CgroupPlugin=cgroup/v1' >"$dir/cgroup.conf" # slurmd starts with it even where no cgroup file system is mounted
echo 'PMIxCollFence=ring' >"$dir/mpi.conf"        # with the default fence 2 % of the starts over several nodes crash
export SLURM_CONF=$dir/slurm.conf

munged --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
  --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" --num-threads=2
slurmctld
for i in $(seq 1 "$nodes"); do
  mkdir -p "$dir/spool.n$i" "$dir/tmp.n$i"
  # shellcheck disable=SC2016 # $1 belongs to the inner shell
  unshare --uts sh -c 'hostname "$1" && exec slurmd -N "$1"' sh "n$i"
done
for _ in $(seq 1 150); do
  up=$({ timeout -k 9 5 sinfo -h -N -p main -t idle -o %N 2>/dev/null || true; } | sort -u | wc -l)
  [ "$up" -eq "$nodes" ] && exit 0
  sleep 0.2
done
echo "up.sh: nodes did not come up; see $dir/log" >&2
exit 1
