"""The part of the spec about load that is known before: windows in which a shop has more pods."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Self, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, field_validator, model_validator

from platform_operator.api.conditions import TIME_FORMAT
from platform_operator.api.schema import Model, TimeZone, rule, rules

_TIME = "^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
_OFFSET = "(Z|[+-][0-9]{2}:[0-9]{2})$"
_IS_TIME = f"matches('{_TIME}(Z|[+-][0-9]{{2}}:[0-9]{{2}})?$')"
_HAS_OFFSET = f"matches('{_OFFSET}')"


def _instant(field: str) -> str:
    """Returns CEL for the instant of a time; one without an offset counts as UTC, which keeps the order of two."""
    return f"timestamp(self.{field}.{_HAS_OFFSET} ? self.{field} : self.{field} + 'Z')"


_Time: TypeAlias = Annotated[str, Field(max_length=32)]


class SurgeWindow(Model):
    """A time in which a shop has more pods than it needs at other times."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                rule(
                    f"self.{field}.{_IS_TIME}",
                    f"surge.{field} must be a time of RFC 3339: write for example 2026-11-27T06:00:00Z, or "
                    "2026-11-27T06:00:00 with timeZone",
                    f".{field}",
                )
                for field in ("from", "until")
            ),
            rule(
                f"self.from.{_HAS_OFFSET} == self.until.{_HAS_OFFSET}",
                "surge.from and surge.until must both have an offset, or both have none: write both with Z, or both "
                "without",
                ".until",
            ),
            rule(
                f"!self.from.{_IS_TIME} || !self.until.{_IS_TIME} || {_instant('from')} < {_instant('until')}",
                "surge.until must be later than surge.from: correct one of them",
                ".until",
            ),
            rule(
                f"!has(self.timeZone) || !self.from.{_HAS_OFFSET}",
                "surge.timeZone is used for times without an offset only: remove it, or the offsets",
                ".timeZone",
            ),
            rule(
                "!has(self.timeZone) || self.timeZone.matches('^[A-Za-z][A-Za-z0-9_+/-]*$')",
                "surge.timeZone must be a name of the IANA time zone database: write for example Europe/Berlin",
                ".timeZone",
            ),
        )
    )

    from_: _Time = Field(alias="from", description="When it begins, as RFC 3339, e.g. 2026-11-27T06:00:00Z.")
    until: _Time = Field(description="When it ends. Without an offset, both times are those of timeZone.")
    factor: float = Field(
        ge=1,
        le=100,
        description="Factor by which the number of pods of each service is multiplied: the minimum of its autoscaler, "
        "or its replicas. Never beyond autoscaling.max, whose default is the profile's. Of windows that overlap, the "
        "greatest factor counts.",
    )
    time_zone: TimeZone | None = Field(
        default=None, description="Time zone of times without an offset, such as Europe/Berlin. Default: UTC."
    )

    @field_validator("from_", "until")
    @classmethod
    def _is_time(cls, text: str) -> str:
        datetime.fromisoformat(text)
        return text

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        """Refuses what the rules of the CRD cannot, since CEL knows no time zones."""
        if self.begins < self.ends:
            return self
        begins, ends = (time.strftime(TIME_FORMAT) for time in (self.begins, self.ends))
        text = f"until is not later than from ({begins} until {ends}); clocks may change between them"
        raise ValueError(f"{text}: write both with Z, or a later until")

    @property
    def begins(self) -> datetime:
        """The beginning in UTC."""
        return self._in_utc(self.from_)

    @property
    def ends(self) -> datetime:
        """The end in UTC. Within a time zone, datetimes would be compared by the clock, which goes back once a year."""
        return self._in_utc(self.until)

    def _in_utc(self, text: str) -> datetime:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=ZoneInfo(self.time_zone or "UTC"))).astimezone(UTC)
