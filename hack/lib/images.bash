# shellcheck shell=bash
# Sourced: pulls images if a public registry answers. Whether it does is exported as PUBLIC_REGISTRY, so that the
# timeout occurs only once.

# shellcheck disable=SC2034  # for the scripts that source this
node_image=kindest/node:v1.35.4 # its tag is the version of Kubernetes

have_image() { # name; whether it is on the engine or could be pulled
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

is_pushed() { # name; whether the local registry has it
  timeout 10 docker manifest inspect --insecure "$1" >/dev/null 2>&1
}
