"""Making a new database: ``initdb``, all of it or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from portico.data.launcher import launched

if TYPE_CHECKING:
    from portico.data.binaries import Binaries
    from portico.data.home import Home

SUPERUSER = "portico"
_BUILTIN_LOCALE_SINCE = 17


def make_cluster(home: Home, binaries: Binaries, *, sync: bool) -> None:
    """Make the data in a folder beside ``home.data``; only when finished does it get that name.

    What an interrupted attempt has left is thrown away. ``sync`` waits until it is on the disk.
    Raises RuntimeError with the words of ``initdb``.
    """
    unfinished = home.folder / "data.unfinished"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    command = [
        str(binaries.folder / "initdb"),
        f"--pgdata={unfinished}",
        f"--username={SUPERUSER}",
        "--auth=trust",  # whoever gets through the socket's folder
        "--encoding=UTF8",
        "--data-checksums",
        "--no-instructions",
        *([] if sync else ["--no-sync"]),
        *_locale(binaries.major),
    ]
    made = subprocess.run(
        launched(command, account=home.account),
        capture_output=True,
        text=True,
        cwd="/",
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
        check=False,
    )
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed in {home.folder}:\n{made.stdout}{made.stderr}")
    unfinished.rename(home.data)


def _locale(major: int) -> list[str]:
    # Sorted by code point on every machine; of the built-in provider, letters beyond ASCII have a case.
    if major >= _BUILTIN_LOCALE_SINCE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C"]
