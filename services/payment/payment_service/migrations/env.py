from chassis.database.migrations import run_environment

run_environment()
