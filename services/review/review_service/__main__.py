from chassis.command import run

run("review_service")
