from payment_service.app import COMMAND

COMMAND.run()
