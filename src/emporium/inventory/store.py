"""The tables of inventory and every statement on them.

Whoever changes levels locks first the reservations that end, in the order of their id, then the levels
in the order of theirs. Whoever has levels waits for no reservation, and whoever has one reservation of
its own waits for no other. Who adjusts has one level, and may then wait for whoever came with the same
request_id, who has got its level already. So none wait for each other in a circle, as long as a
transaction adjusts one level and does nothing else to levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    select,
    text,
    update,
)

from emporium.inventory.model import (
    MOST_PIECES,
    Adjustment,
    Level,
    Line,
    Reservation,
    Status,
)

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Row

    from emporium.inventory.model import Ending

_metadata = MetaData(schema="inventory")

levels = Table(
    "levels",
    _metadata,
    Column("product_id", Text, primary_key=True),
    Column("on_hand", Integer),
    Column("reserved", Integer),
    Column("updated_at", DateTime(timezone=True)),
)

movements = Table(
    "movements",
    _metadata,
    Column("movement_id", BigInteger, primary_key=True),
    Column("product_id", Text),
    Column("kind", Text),
    Column("on_hand", Integer),
    Column("reserved", Integer),
    Column("reservation_id", Text),
    Column("request_id", Text),
    Column("note", Text),
    Column("moved_at", DateTime(timezone=True)),
)

_MOST_OVERDUE = 100


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a line finds: ``free`` pieces, and ``freed`` ones that overdue holds give up for it."""

    line: Line
    free: int
    freed: int

    @property
    def available(self) -> int:
        """All that the line can have."""
        return self.free + self.freed


@dataclass(frozen=True, slots=True)
class Taken:
    """How an attempt to hold pieces ended; when ``held`` is False nothing has changed."""

    held: bool
    shelves: tuple[Shelf, ...]
    expired: tuple[str, ...]
    """The reservations whose overdue holds were ended on the way."""


def level(session: Connection, product_id: str) -> Level | None:
    """The stock of one product."""
    row = session.execute(select(levels).where(levels.c.product_id == product_id)).one_or_none()
    return None if row is None else _level(row)


def lock_level(session: Connection, product_id: str, *, now: datetime) -> Level:
    """The stock of a product, opened at zero if there is none; nobody else can change it until the end.

    To be had before anything that refers to the level is written: the foreign key would take a weaker
    lock, and who then asks for this one too may wait for somebody who waits for it.
    """
    wanted = select(levels).where(levels.c.product_id == product_id).with_for_update(key_share=True)
    while (row := session.execute(wanted).one_or_none()) is None:
        session.execute(_OPEN_LEVEL, {"product_id": product_id, "now": now})
    return _level(row)


def log_adjustment(session: Connection, adjustment: Adjustment, *, now: datetime) -> bool:
    """Log the movement of a locked level.

    False when the request_id was logged before; of two at the same moment the second waits for the first.
    """
    logged = session.execute(
        _LOG_ADJUSTMENT,
        {
            "product_id": adjustment.product_id,
            "delta": adjustment.delta,
            "note": adjustment.note,
            "request_id": adjustment.request_id or None,
            "now": now,
        },
    )
    return logged.rowcount == 1


def logged_adjustment(session: Connection, request_id: str) -> Adjustment:
    """The adjustment that came with ``request_id`` first."""
    row = session.execute(select(movements).where(movements.c.request_id == request_id)).one()
    return Adjustment(
        product_id=row.product_id, delta=row.on_hand, note=row.note, request_id=row.request_id
    )


def adjust(session: Connection, adjustment: Adjustment, *, now: datetime) -> Level | None:
    """Change what is on hand; None, and no change, where it would go below what is reserved or too high.

    The level is locked already: otherwise this would judge by what it was before the wait.
    """
    after = levels.c.on_hand + adjustment.delta
    change = (
        update(levels)
        .where(
            levels.c.product_id == adjustment.product_id,
            after.between(levels.c.reserved, MOST_PIECES),
        )
        .values(on_hand=after, updated_at=now)
        .returning(levels)
    )
    row = session.execute(change).one_or_none()
    return None if row is None else _level(row)


def hold(session: Connection, wanted: Reservation, *, now: datetime) -> Taken:
    """Make the reservation and hold its pieces, or change nothing, in one statement.

    Not held means that pieces are missing, or that there is a reservation of this id already. Overdue
    holds on the same products (up to 100) are ended first, so that their pieces count as free.
    """
    return _take(session, _HOLD, wanted, now)


def hold_again(session: Connection, expired: Reservation, *, now: datetime) -> Taken:
    """Hold the pieces of a reservation that has EXPIRED once more, or change nothing; see ``hold``."""
    return _take(session, _HOLD_AGAIN, expired, now)


def find(session: Connection, reservation_id: str) -> Reservation | None:
    """The reservation as it is at the moment."""
    row = session.execute(_FIND, {"reservation_id": reservation_id}).one_or_none()
    return None if row is None else _reservation(row)


def lock(session: Connection, reservation_id: str) -> Reservation | None:
    """The reservation, which nobody else can end until this transaction ends."""
    row = session.execute(_LOCK, {"reservation_id": reservation_id}).one_or_none()
    return None if row is None else _reservation(row)


def end(session: Connection, reservation: Reservation, ending: Ending, *, now: datetime) -> None:
    """Move a locked reservation on, with its levels and movements, in one statement."""
    session.execute(
        _END,
        {
            "reservation_id": reservation.reservation_id,
            "product_ids": [line.product_id for line in reservation.lines],
            "quantities": [line.quantity for line in reservation.lines],
            "status": ending.status,
            "kind": ending.movement,
            "on_hand": ending.on_hand,
            "reserved": ending.reserved,
            "now": now,
        },
    )


def give_up_beforehand(session: Connection, reservation_id: str, *, now: datetime) -> bool:
    """Note that this id is given up, so that a reservation which comes late is refused.

    False when there is a reservation of this id after all, made at this moment.
    """
    row = {"reservation_id": reservation_id, "now": now}
    return session.execute(_GIVE_UP_BEFOREHAND, row).rowcount == 1


def _take(session: Connection, statement: Any, wanted: Reservation, now: datetime) -> Taken:
    rows = session.execute(
        statement,
        {
            "reservation_id": wanted.reservation_id,
            "expires_at": wanted.expires_at,
            "product_ids": [line.product_id for line in wanted.lines],
            "quantities": [line.quantity for line in wanted.lines],
            "most_overdue": _MOST_OVERDUE,
            "now": now,
        },
    ).all()
    shelves = [
        Shelf(line, row.free, row.freed) for line, row in zip(wanted.lines, rows, strict=True)
    ]
    return Taken(rows[0].held, tuple(shelves), tuple(rows[0].expired))


def _level(row: Row[Any]) -> Level:
    return Level(
        product_id=row.product_id,
        on_hand=row.on_hand,
        reserved=row.reserved,
        updated_at=row.updated_at,
    )


def _reservation(row: Row[Any]) -> Reservation:
    return Reservation(
        reservation_id=row.reservation_id,
        status=Status(row.status),
        lines=tuple(map(Line, row.product_ids, row.quantities)),
        expires_at=row.expires_at,
    )


_OPEN_LEVEL = text("""
INSERT INTO inventory.levels (product_id, on_hand, reserved, updated_at) VALUES (:product_id, 0, 0, :now)
ON CONFLICT (product_id) DO NOTHING
""")

_LOG_ADJUSTMENT = text("""
INSERT INTO inventory.movements (product_id, kind, on_hand, reserved, request_id, note, moved_at)
VALUES (:product_id, 'ADJUSTED', :delta, 0, :request_id, :note, :now)
ON CONFLICT (request_id) WHERE request_id IS NOT NULL DO NOTHING
""")

# The parts run in the order in which they need each other: overdue, freed, net, locked, missing, held,
# and then the writes. A level that somebody else has just changed is waited for by `locked`, which
# sees it as it is afterwards; the rest of the statement reckons with what `locked` saw. So whoever writes
# a level writes both numbers: Postgres first checks a row made of the old one and what is written, and
# with a number left over from before the wait that row may break a law that the right one keeps.
_TAKE = """
WITH wanted AS (
    SELECT line.product_id, line.quantity, line.position::integer AS position
    FROM unnest(CAST(:product_ids AS text[]), CAST(:quantities AS integer[]))
         WITH ORDINALITY AS line(product_id, quantity, position)
), overdue AS MATERIALIZED (
    SELECT old.reservation_id FROM inventory.reservations AS old
    WHERE old.status = 'HELD' AND old.expires_at <= :now AND old.reservation_id <> :reservation_id
      AND EXISTS (
        SELECT FROM inventory.reservation_lines AS line
        WHERE line.reservation_id = old.reservation_id AND line.product_id = ANY(:product_ids))
    ORDER BY old.reservation_id LIMIT :most_overdue
    FOR NO KEY UPDATE OF old {if_locked}
), freed AS (
    SELECT line.reservation_id, line.product_id, line.quantity
    FROM inventory.reservation_lines AS line JOIN overdue USING (reservation_id)
), net AS (
    SELECT product_id, coalesce(sum(wanted), 0)::integer AS wanted, coalesce(sum(freed), 0)::integer AS freed
    FROM (SELECT product_id, quantity AS wanted, NULL::integer AS freed FROM wanted
          UNION ALL SELECT product_id, NULL, quantity FROM freed) AS change
    GROUP BY product_id
), locked AS MATERIALIZED (
    SELECT level.product_id, level.on_hand, level.reserved FROM inventory.levels AS level
    WHERE level.product_id = ANY(ARRAY(SELECT product_id FROM net))
    ORDER BY level.product_id
    FOR NO KEY UPDATE
), missing AS (
    SELECT FROM net LEFT JOIN locked USING (product_id)
    WHERE net.wanted > 0
      AND (locked.product_id IS NULL OR locked.on_hand - locked.reserved + net.freed < net.wanted)
), held AS (
    {held}
    RETURNING reservation_id
), lines AS (
    INSERT INTO inventory.reservation_lines (reservation_id, position, product_id, quantity)
    SELECT held.reservation_id, wanted.position, wanted.product_id, wanted.quantity
    FROM held CROSS JOIN wanted {unless_known}
), expired AS (
    UPDATE inventory.reservations AS old SET status = 'EXPIRED', updated_at = :now
    FROM held CROSS JOIN overdue WHERE old.reservation_id = overdue.reservation_id
    RETURNING old.reservation_id
), changed AS (
    UPDATE inventory.levels AS level
    SET on_hand = locked.on_hand, reserved = locked.reserved + net.wanted - net.freed, updated_at = :now
    FROM held CROSS JOIN locked JOIN net USING (product_id) WHERE level.product_id = locked.product_id
), moved AS (
    INSERT INTO inventory.movements (product_id, kind, on_hand, reserved, reservation_id, moved_at)
    SELECT freed.product_id, 'EXPIRED', 0, -freed.quantity, freed.reservation_id, :now
    FROM held CROSS JOIN freed
    UNION ALL
    SELECT wanted.product_id, 'RESERVED', 0, wanted.quantity, held.reservation_id, :now
    FROM held CROSS JOIN wanted
)
SELECT EXISTS (SELECT FROM held) AS held, ARRAY(SELECT reservation_id FROM expired) AS expired,
       coalesce(locked.on_hand - locked.reserved, 0) AS free, net.freed
FROM wanted JOIN net USING (product_id) LEFT JOIN locked USING (product_id)
ORDER BY wanted.position
"""

_HOLD = text(
    _TAKE.format(
        if_locked="",
        unless_known="",
        held="""
    INSERT INTO inventory.reservations (reservation_id, status, expires_at, created_at, updated_at)
    SELECT :reservation_id, 'HELD', :expires_at, :now, :now WHERE NOT EXISTS (SELECT FROM missing)
    ON CONFLICT (reservation_id) DO NOTHING""",
    )
)

_HOLD_AGAIN = text(
    _TAKE.format(
        if_locked="SKIP LOCKED",  # its own reservation is locked already, out of the order
        unless_known="ON CONFLICT DO NOTHING",
        held="""
    UPDATE inventory.reservations AS ours SET status = 'HELD', expires_at = :expires_at, updated_at = :now
    WHERE ours.reservation_id = :reservation_id AND ours.status = 'EXPIRED'
      AND NOT EXISTS (SELECT FROM missing)""",
    )
)

_WHOLE = """
SELECT one.reservation_id, one.status, one.expires_at,
       ARRAY(SELECT line.product_id FROM inventory.reservation_lines AS line
             WHERE line.reservation_id = one.reservation_id ORDER BY line.position) AS product_ids,
       ARRAY(SELECT line.quantity FROM inventory.reservation_lines AS line
             WHERE line.reservation_id = one.reservation_id ORDER BY line.position) AS quantities
FROM inventory.reservations AS one
"""

_FIND = text(f"{_WHOLE} WHERE one.reservation_id = :reservation_id")
_LOCK = text(f"{_WHOLE} WHERE one.reservation_id = :reservation_id FOR NO KEY UPDATE OF one")

_END = text("""
WITH line AS (
    SELECT * FROM unnest(CAST(:product_ids AS text[]), CAST(:quantities AS integer[]))
                  AS line(product_id, quantity)
), locked AS MATERIALIZED (
    SELECT level.product_id, level.on_hand, level.reserved FROM inventory.levels AS level
    WHERE level.product_id = ANY(:product_ids)
    ORDER BY level.product_id
    FOR NO KEY UPDATE
), ended AS (
    UPDATE inventory.reservations SET status = :status, updated_at = :now
    WHERE reservation_id = :reservation_id
), moved AS (
    INSERT INTO inventory.movements (product_id, kind, on_hand, reserved, reservation_id, moved_at)
    SELECT product_id, :kind, :on_hand * quantity, :reserved * quantity, :reservation_id, :now FROM line
)
UPDATE inventory.levels AS level
SET on_hand = locked.on_hand + :on_hand * line.quantity,
    reserved = locked.reserved + :reserved * line.quantity, updated_at = :now
FROM locked JOIN line USING (product_id) WHERE level.product_id = locked.product_id
""")

_GIVE_UP_BEFOREHAND = text("""
INSERT INTO inventory.reservations (reservation_id, status, expires_at, created_at, updated_at)
VALUES (:reservation_id, 'RELEASED', :now, :now, :now)
ON CONFLICT (reservation_id) DO NOTHING
""")
