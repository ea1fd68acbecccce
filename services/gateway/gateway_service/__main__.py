from gateway_service.app import COMMAND

COMMAND.run()
