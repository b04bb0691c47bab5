"""Other libraries' logs, kept from telling what is in images and requests."""

from __future__ import annotations

import logging

__all__ = ["hush"]


def hush(*names: str, level: int = logging.INFO) -> None:
    """Log nothing below `level` for these loggers, unless somebody chose a level for them.

    With the root logger at DEBUG, which is common while debugging something else, Pillow logs
    the values of EXIF tags (places too) and vendors' libraries whole requests, images and all.
    Who wants to see that sets the level of the very logger.
    """
    for name in names:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(level)
