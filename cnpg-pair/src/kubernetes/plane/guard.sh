# What Continuum does inside the container of a PostgreSQL instance. It comes on the standard input of
# `bash -s -- VERB ...`, and needs bash, the coreutils, util-linux and PostgreSQL's own programs.
#
# The guard is a process of the container that outlives the command which started it. It holds a
# deadline on the clock that counts suspend (/proc/uptime) and ends PostgreSQL when it has passed and
# PostgreSQL is, or is becoming, a primary. What ends PostgreSQL first leaves a recovery.conf in its data
# directory: with it no PostgreSQL from 12 on starts, whoever starts it, until `hold` takes it away.
#
# Exit status: 0 done, 10 refused, 11 failed; the reason is the last line that is printed.

set -u
umask 077
export LC_ALL=C
cd /
home="${PGDATA%/*}/continuum"
mkdir -p "$home"
[[ -p $home/pause ]] || mkfifo "$home/pause" 2>/dev/null
exec 9<>"$home/pause"

refuse() { printf '%s\n' "$*"; exit 10; }
fail() { printf '%s\n' "$*"; exit 11; }

# Waits without a new process.
pause() { read -r -t "$1" -u 9 _; return 0; }

# Hundredths of a second since the host was started, into `now`.
look_at_clock() {
  local up rest
  read -r up rest </proc/uptime
  now=$((10#${up/./}))
}

# The first line of a file into `line`; empty where there is none.
first_line() {
  line=
  { read -r line <"$1"; } 2>/dev/null
  return 0
}

# Everything that works in the data directory is PostgreSQL, into `found`.
look_for_postgres() {
  local process
  found=()
  for process in /proc/[0-9]*; do
    [[ $process/cwd -ef $PGDATA ]] 2>/dev/null && found+=("${process#/proc/}")
  done
  return 0
}

# The postmaster into `postmaster`; empty where none runs here. The number in its file may be another
# process's by now.
look_for_postmaster() {
  first_line "$PGDATA/postmaster.pid"
  postmaster=
  if [[ $line =~ ^[0-9]+$ && /proc/$line/cwd -ef $PGDATA ]]; then
    postmaster=$line
  fi
}

# R4: nothing is done for an agent that was replaced.
admit() {
  exec 8>"$home/lock"
  flock 8
  first_line "$home/generation"
  ((${line:-0} <= $1)) || refuse "generation $line has taken over from $1"
}

# The newest epoch that was acted under here, for the agents to come (R4).
remember() {
  first_line "$home/epoch"
  ((${line:-0} >= $1)) && return 0
  printf '%s\n' "$1" >"$home/epoch.new" && mv "$home/epoch.new" "$home/epoch"
}

# No PostgreSQL starts in this directory from here on.
block() {
  [[ -d $PGDATA ]] || return 0
  printf '# Written by Continuum: this member is fenced and must not start by itself.\n' \
    >"$PGDATA/recovery.conf"
}

# Ends PostgreSQL at once: SIGQUIT, and after so many hundredths of a second SIGKILL of everything, the
# postmaster last, so that nothing is started or tidied up meanwhile.
end_now() {
  local postmaster until process
  block
  look_for_postmaster
  [[ -n $postmaster ]] && kill -QUIT "$postmaster" 2>/dev/null
  look_at_clock
  until=$((now + $1))
  look_for_postgres
  while ((${#found[@]} > 0)); do
    look_at_clock
    if ((now >= until)); then
      look_for_postmaster
      [[ -n $postmaster ]] && kill -STOP "$postmaster" 2>/dev/null
      for process in "${found[@]}"; do
        [[ $process == "$postmaster" ]] || kill -KILL "$process" 2>/dev/null
      done
      [[ -n $postmaster ]] && kill -KILL "$postmaster" 2>/dev/null
    fi
    pause 0.01
    look_for_postgres
  done
}

# Whether PostgreSQL runs and is no standby. The signal file goes before the first write is let in.
is_primary() {
  [[ -e $PGDATA/standby.signal ]] && return 1
  local postmaster
  look_for_postmaster
  [[ -n $postmaster ]]
}

# The guard's loop: generation, epoch and deadline to begin with; "-" is no deadline yet.
guard() {
  local generation=$1 deadline=$3 told= armed
  printf '%s\n' "$BASHPID" >"$home/guard.pid"
  while [[ -d $home ]]; do
    first_line "$home/guard.pid"
    [[ $line == "$BASHPID" ]] || return 0
    first_line "$home/generation"
    [[ $line =~ ^[0-9]+$ ]] && ((line > generation)) && generation=$line
    first_line "$home/armed"
    armed=$line
    look_at_clock
    if [[ $armed != "$told" && $armed =~ ^([0-9]+)\ ([0-9]+)\ ([0-9]+)$ ]]; then
      if ((BASH_REMATCH[1] >= generation)) && remember "${BASH_REMATCH[2]}"; then
        deadline=${BASH_REMATCH[3]}
        printf '%s %s\n' "$armed" "$now" >"$home/seen"
      fi
      told=$armed
    fi
    if [[ $deadline != - ]] && ((now >= deadline)) && is_primary; then
      end_now "$4"
    fi
    pause 0.05
  done
}

# ---- verbs -----------------------------------------------------------------------------------

# GENERATION: older agents are refused from here on.
take() {
  admit "$1"
  printf '%s\n' "$1" >"$home/generation.new" && mv "$home/generation.new" "$home/generation" \
    || fail "the generation could not be written"
  tell
}

# What is: one "name value" a line.
tell() {
  local line now found
  look_at_clock
  printf 'uptime %s\n' "$now"
  first_line "$home/guard.pid"
  if [[ $line =~ ^[0-9]+$ ]] && [[ -r /proc/$line/cmdline ]] \
    && [[ $(tr '\0' ' ' <"/proc/$line/cmdline") == *"$home/guard.sh"* ]]; then
    printf 'guard alive\n'
  fi
  look_for_postgres
  printf 'processes %s\n' "${#found[@]}"
  [[ -e $PGDATA/PG_VERSION ]] && printf 'directory there\n'
  [[ -e $PGDATA/standby.signal ]] && printf 'standby yes\n'
  [[ -e $PGDATA/recovery.conf ]] && printf 'blocked yes\n'
  first_line "$home/epoch"
  [[ $line =~ ^[0-9]+$ ]] && printf 'epoch %s\n' "$line"
  first_line "$home/job"
  # A job goes with its container.
  if [[ $line == running ]] && { exec 7>"$home/job.lock"; flock -n 7; }; then
    first_line "$home/job"
    [[ $line == running ]] && line='failed: it was cut short'
  fi
  exec 7>&-
  [[ -n $line ]] && printf 'job %s\n' "$line"
  return 0
}

# GENERATION EPOCH DEADLINE BUDGET: starts the guard, which takes over from an older one.
start_guard() {
  admit "$1"
  rm -f "$home/armed" "$home/seen"
  { declare -p home PGDATA; declare -f; printf 'cd /; exec 9<>"$home/pause"; guard "$@"\n'; } \
    >"$home/guard.sh.new" && mv "$home/guard.sh.new" "$home/guard.sh" \
    || fail "the guard could not be written"
  setsid bash "$home/guard.sh" "$@" </dev/null >/dev/null 2>&1 8>&- 9>&- &
  local waits
  for ((waits = 0; waits < 200; waits++)); do
    first_line "$home/guard.pid"
    [[ $line == "$!" ]] && { tell; return; }
    pause 0.02
  done
  fail "the guard did not start"
}

# GENERATION EPOCH DEADLINE: by the guard's own word.
arm() {
  local waits wanted="$1 $2 $3"
  admit "$1"
  printf '%s\n' "$wanted" >"$home/armed"
  for ((waits = 0; waits < 50; waits++)); do
    first_line "$home/seen"
    [[ $line == "$wanted "* ]] && { printf 'seen %s\n' "${line##* }"; return; }
    pause 0.02
  done
  fail "the guard does not answer"
}

# GENERATION BUDGET: ends PostgreSQL at once.
quit() {
  admit "$1"
  end_now "$2"
  tell
}

# GENERATION: a stopped PostgreSQL starts as a standby next, and may.
hold() {
  admit "$1"
  look_for_postgres
  ((${#found[@]} == 0)) || fail "PostgreSQL runs"
  [[ -e $PGDATA/PG_VERSION ]] || fail "there is no data directory"
  : >"$PGDATA/standby.signal" && sync "$PGDATA/standby.signal" "$PGDATA" \
    || fail "standby.signal could not be written"
  rm -f "$PGDATA/recovery.conf"
  tell
}

control() { pg_controldata -D "$PGDATA" || fail "pg_control could not be read"; }

# FORK TIMELINE: what lies past the fork, decoded and kept.
save_tail() {
  local text last
  mkdir -p "$home/tails"
  text="$home/tails/$2-${1/\//-}.txt"
  pg_waldump -p "$PGDATA/pg_wal" -t "$2" -s "$1" >"$text" 2>"$text.errors"
  printf 'path %s\n' "$text"
  printf 'records %s\n' "$(grep -c '^rmgr' "$text")"
  printf 'commits %s\n' "$(grep -c 'desc: COMMIT' "$text")"
  last=$(grep -o 'lsn: [0-9A-F/]*' "$text" | tail -n 1)
  printf 'last %s\n' "${last#lsn: }"
}

# FILE OFFSET LENGTH: so many bytes of a WAL file, in hexadecimal.
wal() {
  local text
  text=$(od -v -A n -t x1 -j "$2" -N "$3" "$PGDATA/pg_wal/$1") || fail "$1 could not be read"
  text=${text//[[:space:]]/}
  printf 'bytes %s\n' "$text"
}

# GENERATION NAME CONNECTION: replaces the data directory by a copy, and keeps the old one beside it.
clone() {
  admit "$1"
  look_for_postgres
  ((${#found[@]} == 0)) || fail "PostgreSQL runs"
  # Held until the job has ended: two copies would spoil each other.
  exec 7>"$home/job.lock"
  flock -n 7 || fail "a copy is under way"
  printf 'running\n' >"$home/job"
  { declare -p home PGDATA; declare -f; printf 'cd /; copy "$@"\n'; } >"$home/job.sh"
  setsid bash "$home/job.sh" "$2" "$3" </dev/null >/dev/null 2>&1 8>&- 9>&- &
}

# The copy is made beside the old directory and takes its place by renames, so that nobody who looks
# finds half of one. Volumes for WAL are linked to, and are exchanged with it.
copy() {
  local kept="$PGDATA.kept-$1" new="$PGDATA.new" wal= said more=()
  rm -rf "$new"
  [[ -L $PGDATA/pg_wal ]] && wal=$(readlink -f "$PGDATA/pg_wal")
  [[ -n $wal ]] && rm -rf "$wal.new" && more=(--waldir="$wal.new")
  if ! said=$(pg_basebackup -D "$new" -d "$2" -X stream -c fast "${more[@]}" 2>&1); then
    rm -rf "$new"
    [[ -n $wal ]] && rm -rf "$wal.new"
    printf 'failed: %s\n' "${said//$'\n'/; }" >"$home/job"
    return
  fi
  rm -f "$new/recovery.conf"
  : >"$new/standby.signal"
  sync
  if [[ -n $wal ]]; then
    mv "$wal" "$wal.kept-$1" && ln -sfn "$wal.kept-$1" "$PGDATA/pg_wal" \
      && mv "$wal.new" "$wal" && ln -sfn "$wal" "$new/pg_wal"
  fi && mv "$PGDATA" "$kept" && mv "$new" "$PGDATA" && sync \
    && { printf 'done\n' >"$home/job"; return; }
  printf 'failed: the copy could not take the place of the old directory\n' >"$home/job"
}

act() {
  local verb=$1
  shift
  case $verb in
    take | tell | start_guard | arm | quit | hold | control | save_tail | wal | clone) "$verb" "$@" ;;
    *) refuse "no such verb: $verb" ;;
  esac
}
