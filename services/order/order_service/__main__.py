from chassis.command import run

run("order_service")
