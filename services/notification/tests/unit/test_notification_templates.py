"""Renders every template in every language, with ordinary and with hostile values."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from uuid import UUID

import pytest
from babel import Locale
from chassis.types.ids import UserId
from chassis.types.money import Money
from jinja2 import UndefinedError
from jinja2.exceptions import SecurityError
from notification_service.clients.mime import Mail
from notification_service.clients.users import Contact, MailToken
from notification_service.domain.errors import TokenGone
from notification_service.domain.notifications import Channel, Facts, Notification, Status, Template
from notification_service.service.formatting import format_datetime, format_money
from notification_service.service.message_renderer import MessageRenderer, Shop
from notification_service.service.templates import LocalizedTemplate, TemplateLibrary, formatting_locale

AT = datetime(2026, 11, 22, 16, 5, tzinfo=UTC)
ORDER = "01990000-0000-7000-8000-00000000abcd"
HOSTILE = "<script>alert(1)</script>\r\nBcc: all@example.com\n\nPay here: {{ 7*7 }} {% raw %}\u202eevil\x00"
LINES = [
    {"product_id": 1, "name": "Lamp", "quantity": 2, "unit_price": {"amount": 124999, "currency": "EUR"}},
    {"product_id": 2, "name": HOSTILE, "quantity": 1, "unit_price": {"amount": 5, "currency": "EUR"}},
]
TOTAL = {"amount": 250498, "currency": "EUR"}
STAMP = AT.isoformat()
FACTS: dict[Template, Facts] = {
    Template.WELCOME: {"request_id": "r"},
    Template.EMAIL_VERIFICATION: {"request_id": "r", "expires_at": STAMP},
    Template.PASSWORD_RESET: {"request_id": "r", "expires_at": STAMP},
    Template.PASSWORD_CHANGED: {"changed_at": STAMP},
    Template.EMAIL_CHANGED: {"change_id": "r", "changed_at": STAMP},
    Template.EMAIL_REPLACED: {"change_id": "r", "changed_at": STAMP},
    Template.NEW_DEVICE: {"logged_in_at": STAMP},
    Template.ORDER_PLACED: {
        "order_id": ORDER,
        "lines": LINES,
        "total": TOTAL,
        "placed_at": STAMP,
        "expires_at": STAMP,
    },
    Template.ORDER_PAID: {"order_id": ORDER, "lines": LINES, "total": TOTAL, "confirmed_at": STAMP},
    Template.ORDER_SHIPPED: {"order_id": ORDER, "carrier": HOSTILE, "tracking_number": "JD01", "shipped_at": STAMP},
    Template.ORDER_CANCELLED: {"order_id": ORDER, "cancel_reason": "buyer", "total": TOTAL, "cancelled_at": STAMP},
    Template.PAYMENT_REFUNDED: {"order_id": ORDER, "amount": TOTAL, "refunded_total": TOTAL, "refunded_at": STAMP},
    Template.STOCK_LOW: {"product_id": 77, "available": 0, "threshold": 5},
}
ESSENTIALS = {
    Template.WELCOME: ["https://shop.example/verify-email#token=to%20ken"],
    Template.EMAIL_VERIFICATION: ["https://shop.example/verify-email#token=to%20ken", "2026"],
    Template.PASSWORD_RESET: ["https://shop.example/reset-password#token=to%20ken", "2026"],
    Template.PASSWORD_CHANGED: ["2026", "https://shop.example/forgot-password"],
    Template.EMAIL_CHANGED: ["2026", "https://shop.example/forgot-password"],
    Template.EMAIL_REPLACED: ["2026", "https://shop.example"],
    Template.NEW_DEVICE: ["2026", "https://shop.example/forgot-password"],
    Template.ORDER_PLACED: [ORDER, "Lamp", "alert(1)", "{total}", "{line}", "{extra}", f"/orders/{ORDER}", "2026"],
    Template.ORDER_PAID: [ORDER, "Lamp", "alert(1)", "{total}", "{line}", "{extra}", f"/orders/{ORDER}"],
    Template.ORDER_SHIPPED: [ORDER, "JD01", "alert(1)", f"/orders/{ORDER}"],
    Template.ORDER_CANCELLED: [ORDER, "{total}", f"/orders/{ORDER}"],
    Template.PAYMENT_REFUNDED: [ORDER, "{total}", f"/orders/{ORDER}"],
    Template.STOCK_LOW: ["77", "0", "5", "https://shop.example/products/77"],
}
AMOUNTS = {
    "en": {"{total}": "€2,504.98", "{line}": "€2,499.98", "{extra}": "€4.95"},
    "de": {"{total}": "2.504,98\xa0€", "{line}": "2.499,98\xa0€", "{extra}": "4,95\xa0€"},
}
LIBRARY = TemplateLibrary()


class FakeUsers:
    def __init__(self, has_tokens: bool = True) -> None:
        self._has_tokens = has_tokens

    async def contact(self, user_id: UserId) -> Contact:
        raise NotImplementedError

    async def mail_token(self, request_id: str) -> MailToken:
        if not self._has_tokens:
            raise TokenGone
        return MailToken("to ken", "new@example.com")

    async def replaced_email(self, change_id: str) -> str:
        return "old@example.com"


def notification(template: Template, facts: Facts, channel: Channel = Channel.EMAIL) -> Notification:
    return Notification(UUID(ORDER), UserId(1), channel, template, 1, facts, Status.PENDING, None, 1, AT, AT, AT, None)


async def mail(template: Template, locale: str = "en", name: str = "Anna", facts: Facts | None = None) -> Mail:
    renderer = MessageRenderer(LIBRARY, FakeUsers(), Shop("Nordlicht", "https://shop.example/"))
    contact = Contact("anna@example.com", name, locale, "+491510000000")
    return await renderer.mail(notification(template, facts or FACTS[template]), contact, AT)


async def test_a_mail_with_a_token_goes_to_the_address_that_the_token_verifies() -> None:
    assert (await mail(Template.EMAIL_VERIFICATION)).recipient == "new@example.com"
    assert (await mail(Template.EMAIL_REPLACED)).recipient == "old@example.com"
    assert (await mail(Template.EMAIL_CHANGED)).recipient == "anna@example.com"
    assert (await mail(Template.ORDER_PLACED)).recipient == "anna@example.com"


class PageParser(HTMLParser):
    """Collects the visible text, the tags and the links of a page, and fails if tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.links, self._open = "", set[str](), set[str](), list[str]()
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links |= {value or "" for name, value in attrs if name == "href"}
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_template_exists_in_every_language() -> None:
    shipped = {(localized.template, localized.locale) for localized in LIBRARY.all()}
    assert shipped == {(template, locale) for template in Template for locale in ("en", "de")}
    assert set(FACTS) == set(ESSENTIALS) == set(Template)


@pytest.mark.parametrize("localized", LIBRARY.all(), ids=lambda t: f"{t.template}-v{t.version}-{t.locale}")
async def test_text_and_html_contain_the_essentials_and_escape_the_rest(localized: LocalizedTemplate) -> None:
    rendered = await mail(localized.template, localized.locale)

    page = PageParser(rendered.html)
    for essential in ESSENTIALS[localized.template]:
        expected = AMOUNTS[localized.locale].get(essential, essential)
        assert expected in rendered.text, expected
        assert expected in page.text or expected in " ".join(page.links), expected
    assert "Anna" in rendered.text
    assert "Anna" in page.text
    assert "script" not in page.tags
    assert all(link.startswith("https://shop.example") for link in page.links)
    assert "49" not in re.findall(r"Pay here: (\S+)", rendered.text)
    for text in (rendered.subject, rendered.text, page.text):
        assert "None" not in text
        assert "\u202e" not in text
        assert "\x00" not in text
    assert "\nBcc" not in rendered.text
    assert "\n\nPay here" not in rendered.text
    assert "\n\n\n" not in rendered.text
    assert "\n" not in rendered.subject
    assert rendered.subject == rendered.subject.strip() != ""


@pytest.mark.parametrize("locale", ["en", "de"])
async def test_an_sms_contains_the_essentials_and_is_short(locale: str) -> None:
    renderer = MessageRenderer(LIBRARY, FakeUsers(), Shop("Nordlicht", "https://shop.example"))
    facts = {**FACTS[Template.ORDER_SHIPPED], "carrier": "DHL"}
    contact = Contact("anna@example.com", "Anna", locale, "+491510000000")

    sms = await renderer.sms(notification(Template.ORDER_SHIPPED, facts, Channel.SMS), contact)

    assert sms.recipient == "+491510000000"
    for essential in ("Nordlicht", "DHL", "JD01", f"https://shop.example/orders/{ORDER}"):
        assert essential in sms.body
    assert len(sms.body) < 200


@pytest.mark.parametrize("optional", ["carrier", "tracking_number", "shipped_at"])
async def test_unknown_facts_are_left_out(optional: str) -> None:
    facts = dict(FACTS[Template.ORDER_SHIPPED])
    facts[optional] = None if optional.endswith("_at") else ""

    rendered = await mail(Template.ORDER_SHIPPED, facts=facts)

    label = {"carrier": "Carrier", "tracking_number": "Tracking number", "shipped_at": "Shipped"}[optional]
    assert label not in rendered.text
    assert label not in PageParser(rendered.html).text


async def test_a_missing_fact_fails_the_rendering() -> None:
    with pytest.raises(UndefinedError):
        await mail(Template.ORDER_SHIPPED, facts={"order_id": ORDER})


async def test_a_mail_that_requires_a_token_is_not_rendered_without_one() -> None:
    renderer = MessageRenderer(LIBRARY, FakeUsers(has_tokens=False), Shop("Nordlicht", "https://shop.example"))
    contact = Contact("anna@example.com", "Anna", "en", "")

    for template in (Template.PASSWORD_RESET, Template.EMAIL_VERIFICATION):
        with pytest.raises(TokenGone):
            await renderer.mail(notification(template, FACTS[template]), contact, AT)
    welcome = await renderer.mail(notification(Template.WELCOME, FACTS[Template.WELCOME]), contact, AT)
    assert "token" not in welcome.text


@pytest.mark.parametrize(
    ("locale", "language", "formatting"),
    [
        ("de", "de", "de"),
        ("de-AT", "de", "de_AT"),
        ("de_CH", "de", "de_CH"),
        ("DE", "de", "de"),
        ("en-GB", "en", "en_GB"),
        ("fr", "en", "en"),
        ("", "en", "en"),
        ("../../etc/passwd", "en", "en"),
        ("xx-\x00", "en", "en"),
    ],
)
def test_a_locale_falls_back_to_its_language_and_the_language_to_english(
    locale: str, language: str, formatting: str
) -> None:
    localized = LIBRARY.localize(Template.WELCOME, 1, locale)

    assert localized.locale == language
    assert str(formatting_locale(localized, locale)) == formatting


def test_a_pending_notification_keeps_its_template_version(tmp_path: Path) -> None:
    for template in Template:
        for version in ("v1", "v2") if template is Template.STOCK_LOW else ("v1",):
            folder = tmp_path / template / version
            folder.mkdir(parents=True)
            for part in ("subject.txt", "txt", "html", "sms.txt"):
                (folder / f"en.{part}").write_text(version)
    library = TemplateLibrary(tmp_path)

    assert library.latest_version(Template.STOCK_LOW) == 2
    assert library.render(library.localize(Template.STOCK_LOW, 1, "de"), "txt", {}) == "v1"


def test_a_template_without_a_part_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="there is no template welcome"):
        TemplateLibrary(tmp_path)
    (tmp_path / "welcome" / "v1").mkdir(parents=True)
    (tmp_path / "welcome" / "v1" / "en.txt").write_text("")
    with pytest.raises(LookupError, match=r"welcome/v1/en.subject.txt is missing"):
        TemplateLibrary(tmp_path)
    (tmp_path / "welcome" / "latest").mkdir()
    with pytest.raises(LookupError, match="latest is not a version"):
        TemplateLibrary(tmp_path)


def test_templates_run_in_a_sandbox(tmp_path: Path) -> None:
    for template in Template:
        folder = tmp_path / template / "v1"
        folder.mkdir(parents=True)
        for part in ("subject.txt", "txt", "html", "sms.txt"):
            (folder / f"en.{part}").write_text("{{ ().__class__.__bases__[0].__subclasses__() }}")
    library = TemplateLibrary(tmp_path)

    with pytest.raises(SecurityError):
        library.render(LocalizedTemplate(Template.WELCOME, 1, "en"), "txt", {})


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "formatted"),
    [
        (249999, "USD", "en", "$2,499.99"),
        (249999, "EUR", "de", "2.499,99\xa0€"),
        (1200, "JPY", "en", "¥1,200"),
        (1200, "JPY", "de", "1.200\xa0¥"),
        (1234, "KWD", "en", "KWD\xa01.234"),
        (5, "USD", "en", "$0.05"),
        (0, "USD", "en", "$0.00"),
        (150, "AFN", "en", "AFN\xa01.50"),  # locale data has no decimals, but an afghani has 100 puls
        (1500, "IQD", "en", "IQD\xa01.500"),
        (2**53 - 1, "USD", "en", "$90,071,992,547,409.91"),
    ],
)
def test_money_is_formatted_with_the_decimals_of_its_currency(
    amount: int, currency: str, locale: str, formatted: str
) -> None:
    assert format_money(Money(amount, currency), Locale.parse(locale)) == formatted


def test_times_are_formatted_with_their_zone() -> None:
    assert format_datetime(AT, Locale.parse("en")) == "Nov 22, 2026, 4:05\xa0PM UTC"
    assert format_datetime(AT, Locale.parse("de")) == "22.11.2026, 16:05 UTC"


def test_the_repr_of_a_mail_and_a_contact_shows_no_content() -> None:
    rendered = Mail(UUID(ORDER), "welcome", "anna@example.com", "subject", "text", "html", "en", AT)

    for secret in ("anna", "subject", "text", "html"):
        assert secret not in repr(rendered)
    assert "anna" not in repr(Contact("anna@example.com", "anna", "en", "anna"))
