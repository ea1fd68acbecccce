from review_service.app import COMMAND

COMMAND.run()
