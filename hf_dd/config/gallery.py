"""Options of the gallery: which sets it shows, and where its pages go."""

from collections.abc import Iterator
from dataclasses import dataclass

from hf_dd.config.base import option
from hf_dd.config.commands import CommandOptions, word
from hf_dd.config.data import place


@dataclass
class GalleryOptions(CommandOptions):
    """Which sets a gallery shows."""

    sources: list[str] = word(
        [], "Folders that hold distilled sets, or sets as owner/name or owner/name@revision; else those on the Hub:"
    )
    tag: str = option("hf-dd", "Tag of the sets that are looked for on the Hub.", group="data", role="source")
    owner: str | None = option(None, "Whose sets are looked for; everybody's if not given.", group="data")

    def contradictions(self) -> Iterator[str]:
        """As of all options."""
        if self.sources and (self.owner or self.tag != "hf-dd"):
            yield "A gallery is of the sets that are named, or of those that --owner and --tag find: leave out one."


@dataclass
class GalleryBuildOptions(GalleryOptions):
    """Make pages to look at distilled sets, which open from a disk."""

    output: str = place("site", "Folder for the pages; an earlier gallery there is replaced.", path=True)


@dataclass
class GalleryPushOptions(GalleryOptions):
    """Put the pages up as a static Space."""

    hub_space_id: str = place("hf-dd-gallery", "Space to push to, under the token's user if without an owner.")
    hub_private_repo: bool = place(False, "Create the Space as a private one.")
