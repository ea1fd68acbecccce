"""Statements on accounts. A transaction which changes an account locks its row first, then the account's other rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.database.statements import Connection, Record, Statement
from chassis.types.ids import UserId
from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    ColumnElement,
    RowMapping,
    and_,
    any_,
    bindparam,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from user_service.domain.accounts import (
    DEFAULT_LOCALE,
    DELETED_NAME,
    Account,
    AccountPosition,
    AccountSearch,
    Email,
    Locale,
    NewAccount,
    Phone,
    ProfileUpdate,
    Role,
    erased_email,
    public_name,
)
from user_service.domain.errors import EmailTaken
from user_service.repository.tables import users

_ACCOUNT_COLUMNS = (
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
_NO_PASSWORD = "!"  # noqa: S105 - no hash has this form, so no password matches it
_ADMINS_LOCK = 0x61_64_6D_69_6E
"""The advisory lock of transactions which reduce the number of admins. It is always the last lock that they take."""


@dataclass(frozen=True, slots=True)
class Credentials:
    account: Account
    password_hash: str


def _to_public_name(row: Record) -> tuple[UserId, str]:
    user_id = UserId(row["id"])
    return user_id, DELETED_NAME if row["erased_at"] is not None else public_name(user_id, row["display_name"])


_PUBLIC_NAMES = Statement(
    select(users.c.id, users.c.display_name, users.c.erased_at).where(
        users.c.id == any_(bindparam("user_ids", type_=ARRAY(BigInteger)))
    ),
    _to_public_name,
)


class PublicNameRepository:
    """Reads the names that other users see, without locks, by a prepared statement."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find_all(self, user_ids: Sequence[UserId]) -> dict[UserId, str]:
        """Reads by primary key, also erased accounts. Users that never existed are left out."""
        return dict(await _PUBLIC_NAMES.all(self._connection, user_ids=user_ids))


class AccountReader:
    """Reads an account by a prepared statement, without a lock. Erased accounts are not found."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def find(self, user_id: UserId) -> Account | None:
        """Reads by primary key."""
        return await _FIND.first(self._connection, user_id=user_id)


class AccountRepository(AccountReader):
    """Reads and writes accounts within one transaction. Erased accounts are not found; only their public name is."""

    def __init__(self, transaction: AsyncConnection) -> None:
        super().__init__(transaction)
        self._transaction = transaction

    async def add(
        self, new: NewAccount, password_hash: str, at: datetime, verified_at: datetime | None = None
    ) -> Credentials | None:
        """Inserts an account; returns None if the address is taken.

        The index `users_by_email` decides between concurrent registrations.
        """
        row = insert(users).values(
            email=new.email,
            password_hash=password_hash,
            role=new.role,
            display_name=new.display_name,
            locale=new.locale,
            email_verified_at=verified_at,
            created_at=at,
        )
        return await self._credentials(row.on_conflict_do_nothing().returning(*_ACCOUNT_COLUMNS, users.c.password_hash))

    async def find_by_email(self, email: Email) -> Credentials | None:
        """Reads through the index `users_by_email`, without a lock."""
        return await self._credentials(
            select(*_ACCOUNT_COLUMNS, users.c.password_hash).where(func.lower(users.c.email) == email)
        )

    async def find_credentials(self, user_id: UserId) -> Credentials | None:
        """Reads by primary key, without a lock."""
        return await self._credentials(select(*_ACCOUNT_COLUMNS, users.c.password_hash).where(_has_id(user_id)))

    async def lock(self, user_id: UserId) -> Credentials | None:
        """Locks the row by primary key.

        Transactions which change one account run one after the other; readers do not wait.
        """
        query = select(*_ACCOUNT_COLUMNS, users.c.password_hash).where(_has_id(user_id))
        return await self._credentials(query.with_for_update(key_share=True))

    async def update_profile(self, user_id: UserId, profile: ProfileUpdate) -> Account | None:
        """Writes the changed fields of a profile; returns None for an unknown user.

        The caller needs no lock on the row.
        """
        values = {field: getattr(profile, field) for field in sorted(profile.changed)}
        if not values:
            return await self.find(user_id)
        changed = update(users).where(_has_id(user_id)).values(values).returning(*_ACCOUNT_COLUMNS)
        row = (await self._transaction.execute(changed)).mappings().first()
        return _account(row) if row else None

    async def set_access(self, account: Account) -> None:
        """Stores role and activity, and records whether the account was an admin before. The row must be locked."""
        await self._transaction.execute(
            update(users)
            .where(_has_id(account.id))
            .values(
                role=account.role,
                is_active=account.is_active,
                was_admin=or_(users.c.was_admin, users.c.role == Role.ADMIN),
            )
        )

    async def set_password(self, user_id: UserId, password_hash: str) -> None:
        """Stores the hash of a new password. The row must be locked."""
        await self._transaction.execute(update(users).where(_has_id(user_id)).values(password_hash=password_hash))

    async def set_verified_email(self, user_id: UserId, email: Email, at: datetime) -> None:
        """Stores a verified address.

        The row must be locked. Raises EmailTaken; the transaction can only be rolled back then.
        """
        statement = update(users).where(_has_id(user_id)).values(email=email, email_verified_at=at)
        try:
            await self._transaction.execute(statement)
        except IntegrityError:
            raise EmailTaken from None

    async def is_email_taken(self, email: Email) -> bool:
        """Reads through the index `users_by_email`."""
        return await self._transaction.scalar(select(users.c.id).where(func.lower(users.c.email) == email)) is not None

    async def has_another_active_admin(self, user_id: UserId) -> bool:
        """Returns whether another active admin exists, through `users_admins`.

        The next caller waits until this transaction ends, and then sees its changes.
        """
        await self._transaction.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADMINS_LOCK})
        query = select(users.c.id).where(_IS_ACTIVE_ADMIN, users.c.id != user_id).limit(1)
        return await self._transaction.scalar(query) is not None

    async def has_ever_had_admin(self) -> bool:
        """Returns whether the shop has, or once had, an admin; reads through `users_admins`."""
        query = select(users.c.id).where(or_(users.c.role == Role.ADMIN, users.c.was_admin)).limit(1)
        return await self._transaction.scalar(query) is not None

    async def erase(self, user_id: UserId, at: datetime) -> None:
        """Erases all personal data of an account.

        The row must be locked. The id remains, since other services refer to it; the address can be registered again.
        """
        await self._transaction.execute(
            update(users)
            .where(_has_id(user_id))
            .values(
                email=erased_email(user_id),
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

    async def search(
        self, search: AccountSearch, offset: int, limit: int, after: AccountPosition | None = None
    ) -> list[Account]:
        """Returns one page in the order of registration (by primary key).

        The page begins after the account at `after`, or else after `offset` accounts. A search for text reads accounts
        until the page is full.
        """
        is_later = true() if after is None else users.c.id > after.id
        page = select(*_ACCOUNT_COLUMNS).where(_matches(search), is_later).order_by(users.c.id)
        rows = await self._transaction.execute(page.offset(offset).limit(limit))
        return [_account(row) for row in rows.mappings()]

    async def count(self, search: AccountSearch) -> int:
        """Counts the accounts that match, which reads the whole table."""
        count = select(func.count()).select_from(users).where(_matches(search))
        return await self._transaction.scalar(count) or 0

    async def _credentials(self, statement: Any) -> Credentials | None:
        row = (await self._transaction.execute(statement)).mappings().first()
        return Credentials(_account(row), row["password_hash"]) if row else None


_IS_ACTIVE_ADMIN = and_(users.c.role == Role.ADMIN, users.c.is_active)


def _has_id(user_id: UserId | BindParameter[int]) -> ColumnElement[bool]:
    return and_(users.c.id == user_id, users.c.erased_at.is_(None))


def _matches(search: AccountSearch) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [users.c.erased_at.is_(None)]
    if search.text:
        columns = (users.c.email, users.c.display_name)
        conditions.append(or_(*(column.icontains(search.text, autoescape=True) for column in columns)))
    if search.role is not None:
        conditions.append(users.c.role == search.role)
    if search.is_active is not None:
        conditions.append(users.c.is_active.is_(search.is_active))
    return and_(*conditions)


def _account(row: Record | RowMapping) -> Account:
    user_id = UserId(row["id"])
    return Account(
        user_id,
        Email(row["email"]),
        Role(row["role"]),
        public_name(user_id, row["display_name"]),
        row["created_at"],
        Locale(row["locale"]),
        Phone(row["phone"]) if row["phone"] is not None else None,
        row["is_active"],
        row["email_verified_at"] is not None,
    )


_FIND = Statement(select(*_ACCOUNT_COLUMNS).where(_has_id(bindparam("user_id", type_=BigInteger))), _account)
