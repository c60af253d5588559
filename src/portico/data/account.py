"""Who Postgres runs as. It refuses root, so a program started by root lends it an ordinary user."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SYSTEM_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Whether a process must change its user to become this one."""
        return self.uid != os.geteuid()

    def owns(self, path: Path) -> None:
        """Give ``path`` to this user; nothing to do when it is the one who runs."""
        if self.is_other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def enters(self, folder: Path) -> bool:
        """Whether this user may pass through every folder down to ``folder``, which exists."""
        return all(self._passes(part) for part in (folder, *folder.parents))

    def _passes(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        if status.st_gid == self.gid:
            return bool(status.st_mode & 0o010)
        return bool(status.st_mode & 0o001)


def account_for(folder: Path) -> Account:
    """The account that keeps a database in ``folder``, which need not exist yet.

    The user who runs, unless that is root; then the owner of the nearest existing folder, ``postgres``
    or ``nobody``. Nobody is added to the machine: with none of them, RuntimeError.
    """
    if os.geteuid() != 0:
        return Account(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid())
    existing = next(part for part in (folder, *folder.parents) if part.exists())
    for entry in _candidates(existing.stat().st_uid):
        if entry.pw_uid != 0:
            return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise RuntimeError(
        "Postgres does not run as root, and this machine has no other user to run it: neither the owner "
        f"of {existing} nor {' nor '.join(_SYSTEM_ACCOUNTS)}. Start as an ordinary user, or set a database URL."
    )


def _candidates(owner_uid: int) -> list[pwd.struct_passwd]:
    # initdb looks its own user up by name, so an owner without an entry cannot run it.
    everybody = pwd.getpwall()
    owner = [entry for entry in everybody if entry.pw_uid == owner_uid]
    return owner + [
        entry for name in _SYSTEM_ACCOUNTS for entry in everybody if entry.pw_name == name
    ]
