from chassis.command import run

run("user_service")
