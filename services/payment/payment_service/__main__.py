from chassis.runtime.command import run

run("payment_service")
