from chassis.command import run

run("inventory_service")
