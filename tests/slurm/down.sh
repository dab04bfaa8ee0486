#!/bin/bash
# down.sh DIR - stops the daemons that up.sh DIR started, by their pid files, and whatever jobs they still run.
set -u
dir=${1:?usage: down.sh DIR}
export SLURM_CONF=$dir/slurm.conf
[ -e "$SLURM_CONF" ] || exit 0
if [ -s "$dir/slurmctld.pid" ] && kill -0 "$(cat "$dir/slurmctld.pid")" 2>/dev/null; then
  timeout -k 9 10 squeue -h -o %A 2>/dev/null | sort -u | timeout 10 xargs -r scancel 2>/dev/null
  for _ in $(seq 1 75); do # running jobs get KillWait seconds
    [ -z "$(timeout -k 9 5 squeue -h 2>/dev/null)" ] && break
    sleep 0.2
  done
fi
pids=()
for file in "$dir"/slurmd.*.pid "$dir/slurmctld.pid" "$dir/munge/pid"; do
  [ -s "$file" ] && read -r pid <"$file" && kill "$pid" 2>/dev/null && pids+=("$pid")
done
for _ in $(seq 1 50); do
  alive=()
  for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null && alive+=("$pid"); done
  [ ${#alive[@]} -eq 0 ] && exit 0
  sleep 0.2
done
echo "down.sh: these daemons do not end, killing them: ${alive[*]}" >&2
kill -KILL "${alive[@]}" 2>/dev/null
exit 1
