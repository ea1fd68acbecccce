from chassis.runtime.command import run

run("user_service")
