from product_service.app import COMMAND

COMMAND.run()
