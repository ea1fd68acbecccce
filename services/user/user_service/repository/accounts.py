"""Statements on users. Who changes an account locks its row first, and everything else of that account after it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.types.ids import UserId
from sqlalchemy import ColumnElement, Row, and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import (
    DEFAULT_LOCALE,
    DELETED_NAME,
    Account,
    Email,
    Locale,
    NewAccount,
    Phone,
    Profile,
    Role,
    Search,
    address_of_erased,
    name_of,
)
from user_service.domain.errors import EmailTaken
from user_service.repository.tables import users

_SEEN = (
    users.c.id,
    users.c.email,
    users.c.role,
    users.c.display_name,
    users.c.created_at,
    users.c.locale,
    users.c.phone,
    users.c.is_active,
    users.c.email_verified_at,
)
_NO_PASSWORD = "!"  # noqa: S105 - no hash has this shape, so nothing verifies against it
_ADMINS_LOCK = 0x61_64_6D_69_6E
"""Orders all that makes admins fewer. Always the last lock that a transaction takes."""


@dataclass(frozen=True, slots=True)
class Credentials:
    account: Account
    password_hash: str


class AccountRepository:
    """Reads and writes within one transaction. An erased account is not found, except by its name."""

    def __init__(self, transaction: AsyncConnection) -> None:
        self._transaction = transaction

    async def add(
        self, new: NewAccount, password_hash: str, at: datetime, verified_at: datetime | None = None
    ) -> Credentials | None:
        """None where the address is taken; the index `users_by_email` decides between two at once."""
        row = insert(users).values(
            email=new.email,
            password_hash=password_hash,
            role=new.role,
            display_name=new.display_name,
            locale=new.locale,
            email_verified_at=verified_at,
            created_at=at,
        )
        return await self._credentials(row.on_conflict_do_nothing().returning(*_SEEN, users.c.password_hash))

    async def by_email(self, email: Email) -> Credentials | None:
        """By the index `users_by_email`, without a lock."""
        return await self._credentials(select(*_SEEN, users.c.password_hash).where(func.lower(users.c.email) == email))

    async def by_id(self, user_id: UserId) -> Account | None:
        """By primary key, without a lock."""
        row = (await self._transaction.execute(select(*_SEEN).where(_is(user_id)))).first()
        return _account(row) if row else None

    async def find(self, user_id: UserId) -> Credentials | None:
        """By primary key, without a lock."""
        return await self._credentials(select(*_SEEN, users.c.password_hash).where(_is(user_id)))

    async def lock(self, user_id: UserId) -> Credentials | None:
        """By primary key. Two that would change one account come one after the other; readers do not wait."""
        wanted = select(*_SEEN, users.c.password_hash).where(_is(user_id))
        return await self._credentials(wanted.with_for_update(key_share=True))

    async def shown_name(self, user_id: UserId) -> str | None:
        """What everybody may see, also of an erased account; None for one that never was."""
        wanted = select(users.c.display_name, users.c.erased_at).where(users.c.id == user_id)
        row = (await self._transaction.execute(wanted)).first()
        if row is None:
            return None
        return DELETED_NAME if row.erased_at is not None else name_of(user_id, row.display_name)

    async def change_profile(self, user_id: UserId, profile: Profile) -> Account | None:
        """Takes the lock of the row by itself."""
        values = {field: getattr(profile, field) for field in sorted(profile.changed)}
        if not values:
            return await self.by_id(user_id)
        row = (
            await self._transaction.execute(update(users).where(_is(user_id)).values(values).returning(*_SEEN))
        ).first()
        return _account(row) if row else None

    async def set_standing(self, account: Account) -> None:
        """The row must be locked. Who stops being an admin is remembered to have been one."""
        await self._transaction.execute(
            update(users)
            .where(_is(account.id))
            .values(
                role=account.role,
                is_active=account.is_active,
                was_admin=or_(users.c.was_admin, users.c.role == Role.ADMIN),
            )
        )

    async def set_password(self, user_id: UserId, password_hash: str) -> None:
        """The row must be locked."""
        await self._transaction.execute(update(users).where(_is(user_id)).values(password_hash=password_hash))

    async def set_verified_email(self, user_id: UserId, email: Email, at: datetime) -> None:
        """The row must be locked. Raises EmailTaken, which leaves the transaction fit for nothing but its end."""
        changed = update(users).where(_is(user_id)).values(email=email, email_verified_at=at)
        try:
            await self._transaction.execute(changed)
        except IntegrityError:
            raise EmailTaken from None

    async def is_taken(self, email: Email) -> bool:
        """By the index `users_by_email`."""
        return await self._transaction.scalar(select(users.c.id).where(func.lower(users.c.email) == email)) is not None

    async def has_another_active_admin(self, user_id: UserId) -> bool:
        """Along `users_admins`. Whoever asks next waits for the end of this transaction, and then sees what it did."""
        await self._transaction.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADMINS_LOCK})
        other = select(users.c.id).where(_IS_ACTIVE_ADMIN, users.c.id != user_id).limit(1)
        return await self._transaction.scalar(other) is not None

    async def has_had_an_admin(self) -> bool:
        """Along `users_admins`."""
        one = select(users.c.id).where(or_(users.c.role == Role.ADMIN, users.c.was_admin)).limit(1)
        return await self._transaction.scalar(one) is not None

    async def erase(self, user_id: UserId, at: datetime) -> None:
        """The row must be locked. The id remains, for what refers to it; the address is free again."""
        await self._transaction.execute(
            update(users)
            .where(_is(user_id))
            .values(
                email=address_of_erased(user_id),
                password_hash=_NO_PASSWORD,
                role=Role.CUSTOMER,
                was_admin=or_(users.c.was_admin, users.c.role == Role.ADMIN),
                display_name=None,
                locale=DEFAULT_LOCALE,
                phone=None,
                is_active=False,
                email_verified_at=None,
                erased_at=at,
            )
        )

    async def page(self, search: Search, offset: int, limit: int) -> tuple[list[Account], int]:
        """In the order of registration, by primary key; with how many there are in all. A search for text reads the table."""
        found = _matching(search)
        rows = await self._transaction.execute(
            select(*_SEEN).where(found).order_by(users.c.id).offset(offset).limit(limit)
        )
        total = await self._transaction.scalar(select(func.count()).select_from(users).where(found))
        return [_account(row) for row in rows], total or 0

    async def _credentials(self, statement: Any) -> Credentials | None:
        row = (await self._transaction.execute(statement)).first()
        return Credentials(_account(row), row.password_hash) if row else None


_IS_ACTIVE_ADMIN = and_(users.c.role == Role.ADMIN, users.c.is_active)


def _is(user_id: UserId) -> ColumnElement[bool]:
    return and_(users.c.id == user_id, users.c.erased_at.is_(None))


def _matching(search: Search) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [users.c.erased_at.is_(None)]
    if search.text:
        parts = (users.c.email, users.c.display_name)
        conditions.append(or_(*(part.icontains(search.text, autoescape=True) for part in parts)))
    if search.role is not None:
        conditions.append(users.c.role == search.role)
    if search.is_active is not None:
        conditions.append(users.c.is_active.is_(search.is_active))
    return and_(*conditions)


def _account(row: Row[*tuple[Any, ...]]) -> Account:
    user_id = UserId(row.id)
    return Account(
        user_id,
        Email(row.email),
        Role(row.role),
        name_of(user_id, row.display_name),
        row.created_at,
        Locale(row.locale),
        Phone(row.phone) if row.phone is not None else None,
        row.is_active,
        row.email_verified_at is not None,
    )
