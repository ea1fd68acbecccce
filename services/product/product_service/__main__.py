from chassis.runtime.command import run

run("product_service")
