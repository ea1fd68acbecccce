from chassis.command import run

run("notification_service")
