from chassis.command import run

run("sample_service")
