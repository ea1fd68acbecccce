from chassis.runtime.command import run

run("notification_service")
