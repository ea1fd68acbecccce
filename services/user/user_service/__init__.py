"""Registration, login, tokens, profiles."""
