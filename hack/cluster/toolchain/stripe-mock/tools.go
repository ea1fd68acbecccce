//go:build tools

// Package tools keeps the module of the double of Stripe's API that tests talk to.
package tools

import _ "github.com/stripe/stripe-mock"
