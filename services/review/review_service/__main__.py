from chassis.runtime.command import run

run("review_service")
