from chassis.runtime.command import run

run("sample_service")
