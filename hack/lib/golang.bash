# shellcheck shell=bash
# Sourced by what builds Go programs: all with the same flags, so that they share what is compiled.

go_build() { # arguments of go build. A compiler that may use more memory is quicker, and so is one that writes nothing for debuggers
  GOGC=${GOGC:-400} CGO_ENABLED=0 go build -mod=readonly -trimpath -gcflags all=-dwarf=false "$@"
}
