# Prints the configuration of the listeners: bash write-listeners.bash >RESULT
#
# RabbitMQ's metrics listen by IPv4 alone unless an address is set. `::` is every interface, by IPv4 too, and fails on a
# node without IPv6.
set -o errexit -o nounset -o pipefail

echo "# The addresses of listeners, which depend on the node."
# A file of /proc has the size 0, so it is read.
if grep -qs . /proc/net/if_inet6; then echo "prometheus.tcp.ip = ::"; fi
