"""Where the files beside the code lie: in a wheel inside the package, in a checkout at its top level."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def resource(*parts: str) -> Path:
    """The path of `cards/…` or `scripts/…`, as installed or as checked out."""
    installed = PACKAGE.joinpath("resources", *parts)
    return installed if installed.exists() else PACKAGE.parent.joinpath(*parts)
