//go:build tools

// Package tools keeps the module of the RabbitMQ cluster operator, which install-rabbitmq-operator builds.
package tools

import _ "github.com/rabbitmq/cluster-operator/v2"
