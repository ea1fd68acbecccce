"""E-mail, SMS, templates, delivery history."""
