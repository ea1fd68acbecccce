from notification_service.app import COMMAND

COMMAND.run()
