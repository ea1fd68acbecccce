//go:build tools

package toolchain

import _ "github.com/cloudnative-pg/cloudnative-pg/cmd/manager"
