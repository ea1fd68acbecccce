# shellcheck shell=bash
# Sourced: where images come from. PUBLIC_REGISTRY=absent, set once by a caller that has asked, spares every later time-out.

have_image() { # name: on the engine already, or pulled from its registry
  docker image inspect "$1" >/dev/null 2>&1 && return
  registry_answers && timeout "${PULL_SECONDS:-600}" docker pull --quiet "$1" >/dev/null
}

registry_answers() {
  if [[ -z ${PUBLIC_REGISTRY:-} ]]; then
    PUBLIC_REGISTRY=absent
    if timeout 15 docker pull --quiet hello-world >/dev/null 2>&1; then PUBLIC_REGISTRY=present; fi
    export PUBLIC_REGISTRY
  fi
  [[ $PUBLIC_REGISTRY == present ]]
}

pushed() { timeout 10 docker manifest inspect --insecure "$1" >/dev/null 2>&1; } # name in the local registry
