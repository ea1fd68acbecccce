# shellcheck shell=bash
# Sourced by scripts that build Go programs: with the same flags they share the build cache.

go_build() { # arguments of go build; more memory for the compiler and no debug information are quicker
  GOGC=${GOGC:-400} CGO_ENABLED=0 go build -mod=readonly -trimpath -gcflags all=-dwarf=false "$@"
}
