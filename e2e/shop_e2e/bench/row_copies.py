"""Multiplies the rows of tables, so that a shop gets 100,000 products in seconds instead of hours.

The copies have all columns of the original, whatever migration added them, but for those that are given.
"""

from collections.abc import Mapping

import asyncpg

STRIDE = 1_000
"""The distance between the ids of a row and of its next copy: larger than any id of an original row."""


async def copy_rows(
    connection: asyncpg.Connection, table: str, copies: range, columns: Mapping[str, str], where: str = "true"
) -> None:
    """Inserts copies of each row of `table` that satisfies `where`, a condition on `original`.

    `columns` has the SQL expression of each column that differs from the original's; `original` is its row and `copy`
    the number of the copy, of `copies`; 0 would be the original.
    """
    names = await connection.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = ''",
        f'"{table}"',
    )
    chosen = {row["attname"]: columns.get(row["attname"], f'original."{row["attname"]}"') for row in names}
    targets = ", ".join(f'"{name}"' for name in chosen)
    await connection.execute(
        f'INSERT INTO "{table}" ({targets}) OVERRIDING SYSTEM VALUE SELECT {", ".join(chosen.values())}'
        f' FROM "{table}" original, generate_series({copies.start}, {copies.stop - 1}) copy WHERE {where}'
    )


def shifted(column: str) -> str:
    """Returns the expression of an id that belongs to the copy as the original's does to the original."""
    return f'original."{column}" + copy * {STRIDE}'
