#!/bin/bash
# test_script.sh - what `metavar sbatch` writes and submits, with hostile names: refused, or arriving intact. Needs no SLURM.
# shellcheck disable=SC2016,SC1003,SC2015 # hostile text is meant literally
. "$(dirname "$0")/../lib.sh"
cd "$scratch" || exit 1
unset METAVAR METAVAR_LAUNCHER "${!SLURM_@}" "${!SBATCH_@}"
job=$top/tests/digest.yaml
mkdir fake
# Shell words that must never be interpreted: each would leave a file "pwned" behind, end a quotation, or split a word.
hostile=("a b" "it's" 'say "hi"' '$(touch pwned)' '`touch pwned`' '; touch pwned #' $'two\nlines' $'x\n#SBATCH --array=1-9' "'; touch pwned; '" '\' '*' '~' '--help' '-x' '$HOME' '!!' $'tab\tend' $'\xff\xfe' 'a&b|c<d>e' "''" 'käse')

cat >fake/program <<'X'
#!/bin/bash
[ "$1" != status ] && printf '%s\0' "$@" >arguments
exit 0
X
cat >fake/sbatch <<'X'
#!/bin/bash
printf '%s\0' "$@" >sbatch.arguments
cat >sbatch.script
[ -z "$FAKE_FAILS" ] || { echo "sbatch: error: no" >&2; exit 1; }
echo 4711
X
for name in srun scontrol squeue; do printf '#!/bin/bash\nexit 1\n' >fake/$name; done
chmod +x fake/*

intact() { # SCRIPT WORD...: run as a batch script with a fake program, `metavar run` gets exactly these words
  local script=$1 got
  shift
  bash -n "$script" || return
  rm -f arguments
  METAVAR_LAUNCHER=env PATH=$scratch/fake:$PATH SLURM_JOB_ID=1 bash "$script" >run.log 2>&1 || { cat run.log; return 1; }
  mapfile -d '' got <arguments
  [ "${got[*]@Q}" = "${*@Q}" ] || { printf 'got      %s\nexpected %s\n' "${got[*]@Q}" "${*@Q}"; return 1; }
  [ ! -e pwned ] || { echo "text was run as a command"; return 1; }
}
# The script with the fake in place of the program.
script_of() { "$metavar" sbatch "$@" >script && sed -i "s|^METAVAR=.*|METAVAR=$scratch/fake/program|" script; }
paths_intact() { # of job and run
  local word
  for word in "${hostile[@]}"; do
    mkdir -p -- "./$word" && cp "$job" "./$word/j.yaml" || return
    script_of "./$word/j.yaml" -o "$word" && intact script run "$scratch/$word/j.yaml" -o "$scratch/$word" || return
    script_of "$job" -o "not yet/$word" && intact script run "$job" -o "$scratch/not yet/$word" || return
  done
}
check "job and run paths arrive intact, whatever their characters" paths_intact
program_intact() { # the path of the program itself, which METAVAR= carries
  local word
  for word in "${hostile[@]}"; do
    mkdir -p -- "./$word" && cp "$metavar" "./$word/metavar" || return
    (cd -- "./$word" && ./metavar sbatch "$job" -o run) >script && bash -n script || return
    (eval "$(sed -n '/^METAVAR=/,/^set -- /p' script | sed '$d')" && [ "$METAVAR" = "$scratch/$word/metavar" ]) || { echo "$word"; return 1; }
    rm -- "./$word/metavar"
  done
  [ ! -e pwned ]
}
check "so does the path of the program" program_intact
settings_intact() {
  script_of "$job" -o run --set seed=7 --set "name='x'" && intact script run "$job" -o "$scratch/run" --set seed=7 --set "name='x'"
}
check "settings arrive intact" settings_intact

refused() { # CODE ARGUMENT...: exit code, a message, no script
  local code=$1
  shift
  "$metavar" sbatch "$job" -o run "$@" >out 2>err
  local rc=$?
  [ $rc -eq "$code" ] && [ -s err ] && [ ! -s out ] || { echo "sbatch $*: exit $rc, expected $code"; cat out err; return 1; }
}
names_refused() {
  local word option
  for word in "${hostile[@]}" '' "$(printf 'x%.0s' {1..65})" 'a,b' 'a=b' 'a/b' 'a%j'; do
    for option in name partition account; do refused 2 "--$option=$word" || return; done
    refused 2 "--time=$word" && refused 2 "--ntasks=$word" && refused 2 "--nodes=$word" || return
  done
}
check "names, times and counts that are none are refused" names_refused
numbers_refused() {
  local word
  for word in 0 -1 1.5 1e3 0x10 ' 1' '1 ' 99999999999999999999 1000001; do refused 2 "--ntasks=$word" && refused 2 "--nodes=$word" || return; done
  for word in 0 0:30 1: :1 1:2:3:4 1-2-3 1:2-3 - 1- 1m UNLIMITED; do refused 2 "--time=$word" || return; done
  refused 2 --nodes 8 --ntasks 4
}
check "numbers out of range are refused" numbers_refused
check "a wrong setting is refused as run refuses it" refused 78 --set seed=x
lacks_job() { "$metavar" sbatch no.yaml -o run >out 2>err; [ $? -eq 78 ] && [ ! -s out ]; }
check "a job file that is not there: exit 78" lacks_job

directives() { grep '^#SBATCH' script | sed 's/^#SBATCH //' | tr '\n' ' '; }
is() { [ "$1" = "$2" ] || { printf 'found    %s\nexpected %s\n' "$1" "$2"; return 1; }; }
accepted() {
  script_of "$job" -o run --name A.b_c-9 --partition p -A acct -n 12 -N 3 -t 2-12:30:00 &&
    is "$(directives)" "--job-name=A.b_c-9 --ntasks=12 --nodes=3 --time=2-12:30:00 --partition=p --account=acct --signal=B:USR1@120 --requeue --open-mode=append --output=%x-%j.log "
}
check "options become #SBATCH lines" accepted
margins() { # time, seconds of warning: 120, or 5/6 of a shorter limit
  local pair
  for pair in 1:50 2:100 3:120 1:00=50 0:1:30=75 1-0=120 1-0:0=120 0-0:1:0=50 90=120; do
    case $pair in *=*) local time=${pair%=*} seconds=${pair#*=} ;; *) local time=${pair%:*} seconds=${pair#*:} ;; esac
    script_of "$job" -o run -t "$time" && directives | grep -q -- "--signal=B:USR1@$seconds " || { echo "$pair: $(directives)"; return 1; }
  done
}
check "the warning comes two minutes before the limit, earlier for short limits" margins
submitted() {
  script_of "$job" -o 'my $run' -n 3 && "$metavar" sbatch "$job" -o 'my $run' -n 3 >printed || return
  is "$(PATH=$scratch/fake:$PATH "$metavar" sbatch "$job" -o 'my $run' -n 3 --submit)" 4711 && cmp printed sbatch.script || return
  mapfile -d '' got <sbatch.arguments
  is "${got[*]} " "--parsable $(directives)"
}
check "--submit gives sbatch the printed script and the same options, and prints the job id" submitted
not_taken() { FAKE_FAILS=1 PATH=$scratch/fake:$PATH "$metavar" sbatch "$job" -o run --submit >out 2>err; [ $? -eq 1 ] && grep -q 'did not take' err; }
check "sbatch refuses: exit 1 and a message" not_taken
no_slurm() { PATH=$scratch/nowhere "$metavar" sbatch "$job" -o run --submit >out 2>err; [ $? -eq 1 ] && grep -q 'cannot start sbatch' err; }
check "no sbatch here: exit 1 and a message" no_slurm
if command -v shellcheck >/dev/null; then
  script_of "$job" -o "it's" --set seed=7
  check "shellcheck finds nothing in the script" shellcheck script
  check "shellcheck finds nothing in slurm/" shellcheck "$top"/slurm/*.sbatch
fi
