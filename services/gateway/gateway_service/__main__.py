from chassis.command import run

run("gateway_service")
