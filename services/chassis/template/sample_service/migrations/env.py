from chassis.migrating import run_environment

run_environment()
