"""From a notification to a message: the facts that were stored, who reads it, and what only the user service knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from babel import Locale
from chassis.types.money import Money

from notification_service.clients.mail import Mail
from notification_service.clients.sms import Text
from notification_service.clients.users import Contact, MailToken, Users
from notification_service.domain.errors import TokenGone
from notification_service.domain.notifications import Facts, Kind, Notification, Template
from notification_service.domain.text import one_line, salutation
from notification_service.service.formatting import moment, money
from notification_service.service.templates import Catalogue, reader_locale


@dataclass(frozen=True, slots=True)
class Shop:
    """What every mail says of us. `url` is where the shop's pages are."""

    name: str
    url: str

    def link(self, *path: object, token: str = "") -> str:
        """A page of the shop. A token goes behind the #: browsers keep that to themselves, out of logs and referrers."""
        page = "/".join([self.url.rstrip("/"), *(quote(str(part), safe="") for part in path)])
        return f"{page}#token={quote(token, safe='')}" if token else page


class Composer:
    def __init__(self, catalogue: Catalogue, users: Users, shop: Shop) -> None:
        self._catalogue = catalogue
        self._users = users
        self._shop = shop

    async def mail(self, notification: Notification, to: Contact, at: datetime) -> Mail:
        """Raises TokenGone for a mail that is about its link where the link is of no use any more."""
        edition = self._catalogue.edition(notification.template, notification.template_version, to.locale)
        proof = await self._token(notification)
        token, address = (proof.token, proof.email) if proof else ("", to.email)
        values = self._values(notification, to, reader_locale(edition, to.locale), token)
        subject, text, html = (self._catalogue.render(edition, part, values) for part in ("subject.txt", "txt", "html"))
        return Mail(notification.id, notification.template, address, one_line(subject), text, html, edition.locale, at)

    async def text(self, notification: Notification, to: Contact) -> Text:
        edition = self._catalogue.edition(notification.template, notification.template_version, to.locale)
        values = self._values(notification, to, reader_locale(edition, to.locale), "")
        body = self._catalogue.render(edition, "sms.txt", values)
        return Text(notification.id, notification.template, to.phone, one_line(body, 400))

    async def _token(self, notification: Notification) -> MailToken | None:
        request_id = notification.facts.get("request_id")
        if not request_id:
            return None
        try:
            return await self._users.mail_token(str(request_id))
        except TokenGone:
            if notification.template.is_void_without_token:
                raise
            return None

    def _values(self, notification: Notification, to: Contact, locale: Locale, token: str) -> Mapping[str, object]:
        return {
            **_common(self._shop, to, locale),
            **_written(notification.facts, locale),
            "is_security": notification.kind is Kind.SECURITY,
            "token_link": self._token_link(notification, token),
            "order_link": self._shop.link("orders", notification.order_id or ""),
            "product_link": self._shop.link("products", notification.product_id or ""),
        }

    def _token_link(self, notification: Notification, token: str) -> str:
        page = "reset-password" if notification.template is Template.PASSWORD_RESET else "verify-email"
        return self._shop.link(page, token=token) if token else ""


def _common(shop: Shop, to: Contact, locale: Locale) -> dict[str, object]:
    return {
        "shop_name": shop.name,
        "shop_link": shop.link(),
        "preferences_link": shop.link("account", "notifications"),
        "forgot_password_link": shop.link("forgot-password"),
        "name": salutation(to.display_name),
    }


def _written(facts: Facts, locale: Locale) -> dict[str, object]:
    """The facts as the reader writes them: amounts and times formatted, names fit for a line."""
    return {name: _one_written(name, fact, locale) for name, fact in facts.items()} | _table(facts, locale)


def _one_written(name: str, fact: object, locale: Locale) -> object:
    match fact:
        case {"amount": int(amount), "currency": str(currency)}:
            return money(Money(amount, currency), locale)
        case str() if name.endswith("_at"):
            return moment(datetime.fromisoformat(fact), locale)
        case str():
            return one_line(fact)
        case _:
            return fact


def _table(facts: Facts, locale: Locale) -> dict[str, object]:
    """An order's lines, and what the total has beyond them: shipping and tax."""
    match facts:
        case {"lines": list(lines), "total": dict() | None as total}:
            return {"lines": [_row(line, locale) for line in lines], "extra": _extra(total, lines, locale)}
        case _:
            return {}


def _row(line: Mapping[str, Any], locale: Locale) -> dict[str, object]:
    price = _money(line["unit_price"])
    return {
        "name": one_line(line["name"]) or f"#{line['product_id']}",
        "quantity": line["quantity"],
        "unit_price": price and money(price, locale),
        "total": price and money(price * line["quantity"], locale),
    }


def _extra(total: Mapping[str, Any] | None, lines: Sequence[Mapping[str, Any]], locale: Locale) -> str | None:
    if total is None or any(line["unit_price"] is None for line in lines):
        return None
    beyond = total["amount"] - sum(line["unit_price"]["amount"] * line["quantity"] for line in lines)
    return money(Money(beyond, total["currency"]), locale) if beyond > 0 else None


def _money(fact: Mapping[str, Any] | None) -> Money | None:
    return None if fact is None else Money(fact["amount"], fact["currency"])
