# shellcheck shell=bash
# Sourced: lists the services. hack/tests checks that their folders and their declaration agree.

services() { # prints the name of each folder of services/ with an image, from the repository's root
  local project
  for project in services/*/pyproject.toml; do
    project=$(basename "$(dirname "$project")")
    [[ $project == chassis ]] || echo "$project"
  done
}
