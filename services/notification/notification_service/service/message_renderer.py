"""Renders messages from the stored facts of a notification, the recipient's contact and the one-time token."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from babel import Locale
from chassis.types.money import Money

from notification_service.clients.mime import Mail
from notification_service.clients.sms import Sms
from notification_service.clients.users import Contact, MailToken, Users
from notification_service.domain.errors import TokenGone
from notification_service.domain.notifications import Facts, Kind, Notification, Template
from notification_service.domain.text import greeting_name, single_line
from notification_service.service.formatting import format_datetime, format_money
from notification_service.service.templates import TemplateLibrary, formatting_locale

_MAX_SMS_LENGTH = 400


@dataclass(frozen=True, slots=True)
class Shop:
    """The name of the shop, and the URL of its pages, for every message."""

    name: str
    url: str

    def link(self, *path: object, token: str = "") -> str:
        """Returns the URL of a page of the shop.

        The token is in the fragment, which browsers do not send: so it is in no log and no Referer header.
        """
        page = "/".join([self.url.rstrip("/"), *(quote(str(part), safe="") for part in path)])
        return f"{page}#token={quote(token, safe='')}" if token else page


class MessageRenderer:
    """Renders mails and SMS."""

    def __init__(self, templates: TemplateLibrary, users: Users, shop: Shop) -> None:
        self._templates = templates
        self._users = users
        self._shop = shop

    async def mail(self, notification: Notification, contact: Contact, at: datetime) -> Mail:
        """Renders a mail.

        Raises TokenGone if the template requires a token that is no longer valid, RecipientGone if it goes to an
        address that is no longer stored; NeighbourUnavailable.
        """
        localized = self._templates.localize(notification.template, notification.template_version, contact.locale)
        mail_token = await self._mail_token(notification)
        token, address = (mail_token.token, mail_token.email) if mail_token else ("", contact.email)
        if notification.template is Template.EMAIL_REPLACED:
            address = await self._users.replaced_email(str(notification.facts.get("change_id", "")))
        values = self._values(notification, contact, formatting_locale(localized, contact.locale), token)
        subject, text, html = (
            self._templates.render(localized, part, values) for part in ("subject.txt", "txt", "html")
        )
        return Mail(
            id=notification.id,
            template=notification.template,
            recipient=address,
            subject=single_line(subject),
            text=text,
            html=html,
            locale=localized.locale,
            at=at,
        )

    async def sms(self, notification: Notification, contact: Contact) -> Sms:
        """Renders an SMS."""
        localized = self._templates.localize(notification.template, notification.template_version, contact.locale)
        values = self._values(notification, contact, formatting_locale(localized, contact.locale), "")
        body = self._templates.render(localized, "sms.txt", values)
        return Sms(notification.id, notification.template, contact.phone, single_line(body, _MAX_SMS_LENGTH))

    async def _mail_token(self, notification: Notification) -> MailToken | None:
        request_id = notification.facts.get("request_id")
        if not request_id:
            return None
        try:
            return await self._users.mail_token(str(request_id))
        except TokenGone:
            if notification.template.requires_token:
                raise
            return None

    def _values(self, notification: Notification, contact: Contact, locale: Locale, token: str) -> Mapping[str, object]:
        return {
            **_common_values(self._shop, contact),
            **_formatted_facts(notification.facts, locale),
            "is_security": notification.kind is Kind.SECURITY,
            "token_link": self._token_link(notification, token),
            "order_link": self._shop.link("orders", notification.order_id or ""),
            "product_link": self._shop.link("products", notification.product_id or ""),
        }

    def _token_link(self, notification: Notification, token: str) -> str:
        page = "reset-password" if notification.template is Template.PASSWORD_RESET else "verify-email"
        return self._shop.link(page, token=token) if token else ""


def _common_values(shop: Shop, contact: Contact) -> dict[str, object]:
    return {
        "shop_name": shop.name,
        "shop_link": shop.link(),
        "preferences_link": shop.link("account", "notifications"),
        "forgot_password_link": shop.link("forgot-password"),
        "name": greeting_name(contact.display_name),
    }


def _formatted_facts(facts: Facts, locale: Locale) -> dict[str, object]:
    """Formats amounts and times for the reader's locale, and makes texts safe for one line."""
    return {name: _formatted_fact(name, fact, locale) for name, fact in facts.items()} | _order_lines(facts, locale)


def _formatted_fact(name: str, fact: object, locale: Locale) -> object:
    match fact:
        case {"amount": int(amount), "currency": str(currency)}:
            return format_money(Money(amount, currency), locale)
        case str() if name.endswith("_at"):
            return format_datetime(datetime.fromisoformat(fact), locale)
        case str():
            return single_line(fact)
        case _:
            return fact


def _order_lines(facts: Facts, locale: Locale) -> dict[str, object]:
    """Returns the lines of an order, and as `extra` the part of the total that they do not cover: shipping and tax."""
    match facts:
        case {"lines": list(lines), "total": dict() | None as total}:
            return {"lines": [_order_line(line, locale) for line in lines], "extra": _extra(total, lines, locale)}
        case _:
            return {}


def _order_line(line: Mapping[str, Any], locale: Locale) -> dict[str, object]:
    price = _money(line["unit_price"])
    return {
        "name": single_line(line["name"]) or f"#{line['product_id']}",
        "quantity": line["quantity"],
        "unit_price": price and format_money(price, locale),
        "total": price and format_money(price * line["quantity"], locale),
    }


def _extra(total: Mapping[str, Any] | None, lines: Sequence[Mapping[str, Any]], locale: Locale) -> str | None:
    if total is None or any(line["unit_price"] is None for line in lines):
        return None
    extra = total["amount"] - sum(line["unit_price"]["amount"] * line["quantity"] for line in lines)
    return format_money(Money(extra, total["currency"]), locale) if extra > 0 else None


def _money(fact: Mapping[str, Any] | None) -> Money | None:
    return None if fact is None else Money(fact["amount"], fact["currency"])
