"""Where a service's database is, as SQLAlchemy wants to be told."""

from sqlalchemy import URL

from chassis.settings import DatabaseSettings


def url(settings: DatabaseSettings) -> URL:
    return URL.create(
        "postgresql+asyncpg",
        username=settings.db_user,
        password=settings.db_password,
        host=settings.db_host,
        port=settings.db_port,
        database=settings.db_name,
    )
