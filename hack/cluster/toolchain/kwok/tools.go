//go:build tools

// Package tools keeps the module of kwok, which simulates the nodes and pods of `make bench-operator`.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
