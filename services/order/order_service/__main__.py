from order_service.app import COMMAND

COMMAND.run()
