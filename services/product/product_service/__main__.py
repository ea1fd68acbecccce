from chassis.command import run

run("product_service")
