"""The mask of a pool, for tests that need nothing else of the answer."""

from __future__ import annotations

from typing import Any

from afpools_broker.masks.exclude import Mask, exclude_mask_within


def exclude_mask(*hosts: Any, **options: Any) -> Mask:
    """The mask that `exclude_mask_within` makes of the same arguments.

    Raises:
        RequestRefused: as `MadeWithin.given`.
    """
    return exclude_mask_within(*hosts, **options).given()
