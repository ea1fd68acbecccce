"""What every service shares. A service's `app.py` composes these parts; its domain uses `chassis.types` and nothing else of them."""
