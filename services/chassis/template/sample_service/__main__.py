from sample_service.app import COMMAND

COMMAND.run()
