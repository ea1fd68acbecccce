from chassis.command import run

run("payment_service")
