from chassis.runtime.command import run

run("gateway_service")
