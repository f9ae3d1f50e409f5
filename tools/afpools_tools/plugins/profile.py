"""Copies a profile to where one user's programs look for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from afpools.profile import user_folder

from .sources import PluginError


def files_to_copy(profile: Path) -> list[Path]:
    """The files that still must be copied to where this user's programs look for a profile; none if they are there.

    Raises:
        PluginError: there is another profile there.
    """
    source, target = profile.resolve(), Path(user_folder())
    files = sorted(file for file in source.iterdir() if file.is_file())
    if source == target.resolve():
        return []
    if not target.exists():
        return files
    if all((target / file.name).is_file() and (target / file.name).read_bytes() == file.read_bytes() for file in files):
        return []
    raise PluginError(
        f"{target} has another profile, which the plug-in would use. Move that folder away, or leave out --profile. "
        "Nothing was written."
    )


def copy_profile(files: list[Path]) -> None:
    """
    Raises:
        PluginError: they cannot be read or written; an incomplete profile is not left behind.
    """
    target = Path(user_folder())
    new = target.with_name(f".{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        for file in files:
            copy = new / file.name
            copy.touch(mode=0o600)
            shutil.copyfile(file, copy)
        new.replace(target)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise PluginError(f"The profile cannot be copied to {target}: {error.strerror}.") from None
