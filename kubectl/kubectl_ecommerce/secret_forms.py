"""Recognizes secrets that are not known, by the name before them or by their own form. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

REDACTED = "[redacted]"

_SECRET_NAME = re.compile(
    r"pass_?(word|wd|phrase|code)|secret|token|credential|authorization|cookie|signature"
    r"|(api|access|private|backup|master|signing|encryption)_?keys?(_|$)"
    r"|(^|_)(dsn|headers|auth|sig)$|_(pass|pwd)$"
)
"""Names of settings whose values are secrets, in snake case."""
_KEY_NAME = re.compile(r"(?:^|_)([a-z0-9]+)_keys?(?:_(?:previous|former|old|new|current|\d+))*$")
_PUBLIC_KEYS = frozenset(
    {
        "public", "primary", "foreign", "unique", "duplicate", "idempotency", "routing", "binding", "cache",
        "partition", "topology", "sort", "group", "lock", "object", "row", "message", "label", "config", "metric",
        "shard", "limit", "has", "no", "other", "next", "requires", "missing",
    }
)  # fmt: skip
"""The words before `key` in names of keys that are no secrets."""
_PUBLIC_NAME = re.compile(
    r".*_(names?|refs?|ids?|version|revision|generation|type|kind|file|path|dir|mount|uri|url|endpoint|field|host|port"
    r"|user|ttl|age|seconds|minutes|hours|days|expiry|expires|expiration|length|size|count|status|state|reason|policy"
    r"|algorithm|error|exception)|secrets|.*pull_secrets?|existing_secret|.*(checksum|digest).*"
)
"""Names of settings that name the object with a secret, or say something about it."""
_PUBLIC_VALUE = re.compile(r"|true|false|null|none|nil|\*+|\d{1,3}|\$\(\w+\)|\$\{\w+\}", re.IGNORECASE)
"""Values that are no secrets whatever their name: no value, and references to variables."""

_KEY_BEGINS, _KEY_ENDS = (rf"-----{word} [A-Z ]{{0,32}}PRIVATE KEY(?: BLOCK)?-----" for word in ("BEGIN", "END"))
_PRIVATE_KEY = re.compile(
    rf"{_KEY_BEGINS}(?:(?:(?!{_KEY_BEGINS})[\s\S])*?{_KEY_ENDS}|[\sA-Za-z0-9+/=\\]*)"
    rf"|(?:^[A-Za-z0-9+/=]{{16,}}\s+){{1,100}}{_KEY_ENDS}",
    re.MULTILINE,
)
"""Private keys, also those of which the text has only the begin or the end."""
_FORMS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"([a-zA-Z][\w+.-]{0,31}://[^\s:/?#@\"']{0,256}):(?!\d{1,5}[/?#])(?!\$\(\w+\)@)(?:(?!://)[^\s\"']){1,1024}@",
            rf"\1:{REDACTED}@",
        ),
        (r"((?<![\w-])(?:-u|--user)[ =]+[^\s:\"']{1,256}):(?!\d+\b)[^\s\"']+", rf"\1:{REDACTED}"),
        (r"eyJ[\w-]{8,2048}\.[\w-]+(?:\.[\w-]*){0,3}", REDACTED),
        (r"(?i)\b(bearer) +[\w.~+/=-]{8,}", rf"\1 {REDACTED}"),
        (r"(?i)\b(basic) +(?=[a-z+/]*[0-9=])[\w+/=-]{8,}", rf"\1 {REDACTED}"),
        (r"(?:[srp]k_(?:live|test)|whsec|gh[pousr]|github_pat|npm)_\w{6,}", REDACTED),
        (r"(?:xox[a-z]-|glpat-|AIza|AGE-SECRET-KEY-1|SG\.)[\w.-]{10,}", REDACTED),
        (r"SCRAM-SHA-\d+\$\d+:[^\s\"']+", REDACTED),
    )
)
"""Secrets that show by themselves: passwords in URLs, JSON Web Tokens, and tokens of Stripe, GitHub and others."""

_LEAD = re.compile(
    r"(?<![\w.-])(?:"
    r"name\\*[\"']?[ \t]*[:=][ \t]*\\*[\"']?(?P<variable>\w[\w.-]*+)\\*[\"']?[,\s]+"
    r"\\*[\"']?value\\*[\"']?[ \t]*[:=][ \t]*"
    r"|(?P<name>-{0,2}(?:(?:api|secret|access|private|backup|master|signing|encryption) (?=key))?\w[\w.-]*+)"
    r"(?P<quote>\\*[\"'])?[ \t]*(?:=>|:=|[:=])[ \t]*"
    r"|(?P<flag>--?\w[\w-]*+)(?:[ \t]+|\\*[\"'][ \t]*,\s*(?=\\*[\"']))(?!\\*[\"']?-)"
    r"|(?<=['\"])(?P<header>\w[\w-]*+)\\*[\"'],[ \t]*(?=b?\\*[\"'])"
    r"|(?P<said>pass(?:word|wd|phrase|code)|token)[ \t]+(?:is[ \t]+)?(?=\\*[\"'])"
    r")",
    re.IGNORECASE,
)
"""What stands before a value. Its name is in one of the groups:

- variable: `name: NAME, value: value`
- name: `name=value`, `name: value`, `"name": "value"`, and the same within a JSON text. The group `quote` ends it
- flag: `--name value` and `"--name", "value"`
- header: `("name", "value")`
- said: `PASSWORD 'value'` and `password is "value"`
"""
_HEADERS = re.compile(r"(proxy_)?authorization|(set_)?cookie|(x_)?(api_key|auth_token|csrf_token)")
_TEXT_ENDS = re.compile(r"\\*[\"'][ \t]*(?:[}\])]+[ \t]*)?(?:$|,[ \t]*\\*[\"'{\[]|\\*[\"'])", re.MULTILINE)
"""A quote that ends a text with a name at its end, and does not begin a value."""
_QUOTED = re.compile(
    r"(?:[bru]{1,2}|\w+\()?(?P<mark>\\*[\"'])(?P<value>[^\n]*?)(?:(?<!\\)(?=(?P=mark))|$)", re.IGNORECASE | re.MULTILINE
)
_LIST = re.compile(r"\[(?P<value>[^\]\n]+)\]")
_WORD = r"[^\s\"',;&{}\[\]\\]+"
_PLAIN = re.compile(rf"(?P<value>\$\{{\w+\}}|{_WORD})")
_COOKIES = re.compile(rf"(?P<value>{_WORD}(?:;[ \t]*{_WORD})*)")
_AUTHORIZATION = re.compile(
    rf"(?:digest|aws4-hmac-sha256)[ \t]+(?P<rest>[^\n]+)|(?:(?:basic|bearer|token|apikey)[ \t]+)?(?P<value>{_WORD})",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Returns a text in which what looks like a secret is redacted."""
    text = _PRIVATE_KEY.sub(REDACTED, text)
    parts, end = [], 0
    for start, stop in _settings(text):
        parts += [text[end:start], REDACTED]
        end = stop
    text = "".join([*parts, text[end:]])
    for pattern, replacement in _FORMS:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(4096)
def is_secret_name(name: str) -> bool:
    """Tells whether a setting of this name has a secret as its value."""
    snake = _snake(name)
    if _PUBLIC_NAME.fullmatch(snake):
        return False
    key = _KEY_NAME.search(snake)
    return _SECRET_NAME.search(snake) is not None or (key is not None and key[1] not in _PUBLIC_KEYS)


def is_public_value(value: str) -> bool:
    """Tells whether a value is no secret, even of a setting that is named like one."""
    return _PUBLIC_VALUE.fullmatch(value) is not None


def is_secret_flag(word: str) -> bool:
    """Tells whether the word after this one on a command line is a secret."""
    return word.startswith("-") and "=" not in word and is_secret_name(word)


def _settings(text: str) -> Iterator[tuple[int, int]]:
    """Yields where the values of settings that are named like secrets begin and end."""
    position = 0
    while lead := _LEAD.search(text, position):
        position = lead.end()
        name = next(lead[group] for group in ("variable", "name", "flag", "header", "said") if lead[group])
        if not is_secret_name(name) or (lead["header"] and not _HEADERS.fullmatch(_snake(name))):
            continue
        value = _value(text, position, _snake(name), ambiguous=lead["name"] is not None and not lead["quote"])
        if value is not None:
            yield value
            position = value[1]


def _snake(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip("-.")).lower()
    return re.sub(r"[-. /]+", "_", words)


def _value(text: str, start: int, name: str, *, ambiguous: bool) -> tuple[int, int] | None:
    """Returns where the value that begins at `start` has its secret."""
    if ambiguous and _TEXT_ENDS.match(text, start):
        return None
    unquoted = _PLAIN
    if name.endswith("cookie"):
        unquoted = _COOKIES
    elif name.endswith("authorization"):
        unquoted = _AUTHORIZATION
    for form in (_QUOTED, _LIST, unquoted):
        if found := form.match(text, start):
            group = "value" if found["value"] is not None else "rest"
            return None if is_public_value(found[group]) else found.span(group)
    return None
