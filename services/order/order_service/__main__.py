from chassis.runtime.command import run

run("order_service")
