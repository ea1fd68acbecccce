# shellcheck shell=bash
# Sourced by scripts that build Go programs: with the same flags they share the build cache.

need_go() { # purpose, as the rest of a sentence
  command -v go >/dev/null || fail "there is no Go $1: install Go 1.26"
}

go_build() { # arguments of go build; more memory for the compiler and no debug information are quicker
  GOGC=${GOGC:-400} CGO_ENABLED=0 go build -mod=readonly -trimpath -gcflags all=-dwarf=false "$@"
}
