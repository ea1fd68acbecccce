from user_service.app import COMMAND

COMMAND.run()
