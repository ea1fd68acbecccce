# shellcheck shell=bash
# Sourced by docker-engine and docker-compose: unpacks Debian's packages without installing them.

home=${DOCKER_ENGINE_HOME:-/var/lib/ecommerce-docker}
suite=trixie # Debian 12's own engine (20.10) cannot start privileged containers without CAP_SYS_RESOURCE

unpack() { # packages of that suite, on any Debian
  local apt=$home/apt site options deb
  mkdir -p "$apt"/{state/lists/partial,cache/archives/partial} "$home/debs"
  # shellcheck disable=SC2016 # apt's own variable
  site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | sed -n 1p)
  echo "deb $site $suite main" > "$apt/sources.list"
  options=(-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State="$apt/state"
           -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$apt/cache")
  apt-get "${options[@]}" update -qq
  (cd "$home/debs" && apt-get "${options[@]}" download -qq "${@/%//$suite}" 2>/dev/null)
  for deb in "$@"; do dpkg -x "$home/debs/$deb"_*.deb "$home"; done
}

plug_in() { # name of a plugin of docker's command line
  mkdir -p ~/.docker/cli-plugins
  ln -sf "$home/usr/libexec/docker/cli-plugins/docker-$1" ~/.docker/cli-plugins/
}
