"""Loads and renders the templates of the package, which are the files `templates/<name>/v<n>/<locale>.<part>`.

Templates run in a sandbox, and HTML is escaped. A notification keeps the template version that it was stored with, so a
release does not change pending notifications. A locale falls back to its language, and the language to English. All
templates are read when the service starts, so a missing part stops the start.
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
class LocalizedTemplate:
    """One version of a template in one language."""

    template: Template
    version: int
    locale: str

    def path(self, part: str) -> str:
        return f"{self.template}/v{self.version}/{self.locale}.{part}"


class TemplateLibrary:
    """All templates, in every version and language."""

    def __init__(self, folder: Traversable | None = None) -> None:
        """Loads the templates of a folder. Raises LookupError for a template that lacks a part in English."""
        self._sources = dict(_sources(folder or importlib.resources.files("notification_service") / "templates"))
        self._environment = ImmutableSandboxedEnvironment(
            loader=DictLoader(self._sources),
            autoescape=lambda name: name is not None and name.endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._latest_versions = {template: self._find_latest_version(template) for template in Template}

    def latest_version(self, template: Template) -> int:
        """Returns the version for new notifications."""
        return self._latest_versions[template]

    def all(self) -> list[LocalizedTemplate]:
        """Returns every template in each of its versions and languages."""
        found = {
            (Template(name), int(version[1:]), file.split(".")[0])
            for name, version, file in (path.split("/") for path in self._sources)
            if name in set(Template)
        }
        return [LocalizedTemplate(*each) for each in sorted(found)]

    def localize(self, template: Template, version: int, locale: str) -> LocalizedTemplate:
        """Returns the translation that fits a locale best. `locale` is a BCP 47 tag, or any other text."""
        language = locale.replace("_", "-").split("-")[0].lower()
        for candidate in (locale.replace("_", "-"), language):
            localized = LocalizedTemplate(template, version, candidate)
            if localized.path("txt") in self._sources:
                return localized
        return LocalizedTemplate(template, version, DEFAULT_LOCALE)

    def render(self, localized: LocalizedTemplate, part: str, values: Mapping[str, object]) -> str:
        """Renders one part of a template. Raises jinja2.UndefinedError if a value is missing."""
        return self._environment.get_template(localized.path(part)).render(values)

    def _find_latest_version(self, template: Template) -> int:
        versions = [localized.version for localized in self.all() if localized.template is template]
        if not versions:
            raise LookupError(f"there is no template {template}")
        latest = max(versions)
        for part in (part for channel in template.channels for part in _PARTS[channel]):
            path = LocalizedTemplate(template, latest, DEFAULT_LOCALE).path(part)
            if path not in self._sources:
                raise LookupError(f"the template {path} is missing")
        return latest


def formatting_locale(localized: LocalizedTemplate, locale: str) -> Locale:
    """Returns the locale for numbers and dates: the reader's, with its region, if it has the template's language."""
    try:
        parsed = Locale.parse(locale.replace("_", "-"), sep="-")
    except (ValueError, UnknownLocaleError, TypeError):
        return Locale.parse(localized.locale, sep="-")
    return parsed if parsed.language == localized.locale.split("-")[0] else Locale.parse(localized.locale, sep="-")


def _sources(folder: Traversable) -> Iterator[tuple[str, str]]:
    for template in folder.iterdir():
        for version in template.iterdir():
            if not _VERSION.fullmatch(version.name):
                raise LookupError(f"{template.name}/{version.name} is not a version: name it v1, v2, …")
            for file in version.iterdir():
                yield f"{template.name}/{version.name}/{file.name}", file.read_text(encoding="utf-8")
