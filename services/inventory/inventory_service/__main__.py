from chassis.runtime.command import run

run("inventory_service")
