# shellcheck shell=bash
# Sourced by user-facing scripts: checks the platform, prints one line per step, and one line of advice when a step
# fails.

if [[ $(uname -s) != Linux ]] || ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "this needs Linux with bash 4.4 or later, not $(uname -s) with bash $BASH_VERSION (see README.md)" >&2
  exit 1
fi

# shellcheck disable=SC2034  # for the scripts that source this
tools=${HOST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/ecommerce-tools} # holds the commands that PATH lacks
logs=${XDG_CACHE_HOME:-$HOME/.cache}/ecommerce-logs
mkdir -p "$logs"

step() { # title, advice on failure, command...; its output goes to a log
  local title=$1 advice=$2 began=$SECONDS log heartbeat
  log=$logs/$(basename "$3").log
  shift 2
  printf '%5d s  %-52s ' "$SECONDS" "$title"
  print_progress "$log" & heartbeat=$!
  if ! "$@" >"$log" 2>&1 </dev/null; then
    stop "$heartbeat"
    printf 'FAILED after %d s\n' $((SECONDS - began))
    tail -n 40 "$log" | sed 's/^/         | /'
    fail "$title: $advice (whole log: $log)"
  fi
  stop "$heartbeat"
  printf '%4d s\n' $((SECONDS - began))
}

step_with_output() { # like step, but shows the command's output as progress
  local title=$1 advice=$2
  shift 2
  printf '%5d s  %s\n' "$SECONDS" "$title"
  "$@" </dev/null || fail "$title: $advice"
}

print_progress() { # log; prints its last line twice a minute
  local began=$SECONDS
  while sleep 30 >/dev/null 2>&1; do
    printf '\n%12s %3d s: %s' '...' $((SECONDS - began)) "$(tail -n 1 "$1" | tr -d '\r' | cut -c -100)"
  done
}

stop() { kill "$1" 2>/dev/null; wait "$1" 2>/dev/null || true; }

fail() { echo "$*" >&2; exit 1; }

usage() { # prints the comment at the top of the calling script for --help
  case ${1:-} in
    -h | --help) sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  esac
}
