from inventory_service.app import COMMAND

COMMAND.run()
