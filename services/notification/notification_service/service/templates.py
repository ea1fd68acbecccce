"""The templates that the package ships, as `templates/<name>/v<n>/<locale>.<part>`, rendered in a sandbox and escaped.

A notification keeps the version that it was stored with, so that a release changes none that waits. A locale falls back to its
language, and that to English. Everything is read at the start: a missing part fails there, not in the night.
"""

import importlib.resources
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from babel import Locale, UnknownLocaleError
from jinja2 import DictLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notification_service.domain.notifications import Channel, Template

DEFAULT_LOCALE = "en"
_PARTS = {Channel.EMAIL: ("subject.txt", "txt", "html"), Channel.SMS: ("sms.txt",)}
_VERSION = re.compile(r"v([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Edition:
    """One version of a template in one language."""

    template: Template
    version: int
    locale: str

    def path(self, part: str) -> str:
        return f"{self.template}/v{self.version}/{self.locale}.{part}"


class Catalogue:
    def __init__(self, folder: Traversable | None = None) -> None:
        """Raises LookupError for a template without every part in English."""
        self._sources = dict(_sources(folder or importlib.resources.files("notification_service") / "templates"))
        self._environment = ImmutableSandboxedEnvironment(
            loader=DictLoader(self._sources),
            autoescape=lambda name: name is not None and name.endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._newest = {template: self._newest_of(template) for template in Template}

    def newest(self, template: Template) -> int:
        """The version that is stored with new notifications."""
        return self._newest[template]

    def editions(self) -> list[Edition]:
        """Everything that is shipped."""
        found = {
            (Template(name), int(version[1:]), file.split(".")[0])
            for name, version, file in (path.split("/") for path in self._sources)
            if name in set(Template)
        }
        return [Edition(*each) for each in sorted(found)]

    def edition(self, template: Template, version: int, locale: str) -> Edition:
        """The one that fits a reader best. `locale` is a BCP 47 tag, or what somebody took for one."""
        language = locale.replace("_", "-").split("-")[0].lower()
        for candidate in (locale.replace("_", "-"), language):
            edition = Edition(template, version, candidate)
            if edition.path("txt") in self._sources:
                return edition
        return Edition(template, version, DEFAULT_LOCALE)

    def render(self, edition: Edition, part: str, values: Mapping[str, object]) -> str:
        return self._environment.get_template(edition.path(part)).render(values)

    def _newest_of(self, template: Template) -> int:
        versions = [edition.version for edition in self.editions() if edition.template is template]
        if not versions:
            raise LookupError(f"no template {template} is shipped")
        newest = max(versions)
        for part in (part for channel in template.channels for part in _PARTS[channel]):
            path = Edition(template, newest, DEFAULT_LOCALE).path(part)
            if path not in self._sources:
                raise LookupError(f"the template {path} is missing")
        return newest


def reader_locale(edition: Edition, wanted: str) -> Locale:
    """How numbers and dates are written beside an edition's words: as in the reader's region, where the language is theirs."""
    try:
        locale = Locale.parse(wanted.replace("_", "-"), sep="-")
    except (ValueError, UnknownLocaleError, TypeError):
        return Locale.parse(edition.locale, sep="-")
    return locale if locale.language == edition.locale.split("-")[0] else Locale.parse(edition.locale, sep="-")


def _sources(folder: Traversable) -> Iterator[tuple[str, str]]:
    for template in folder.iterdir():
        for version in template.iterdir():
            if not _VERSION.fullmatch(version.name):
                raise LookupError(f"{template.name}/{version.name} is no version: call it v1, v2, …")
            for file in version.iterdir():
                yield f"{template.name}/{version.name}/{file.name}", file.read_text(encoding="utf-8")
