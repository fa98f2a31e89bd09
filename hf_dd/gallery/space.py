"""A gallery where others see it: as a static Space, and as the first page of an embedded Hub."""

import tempfile
from pathlib import Path

from huggingface_hub import SpaceCard, SpaceCardData

from hf_dd import hub
from hf_dd.artefacts.hub_metadata import render
from hf_dd.config.gallery import GalleryPushOptions
from hf_dd.core import files
from hf_dd.core.layout import CARD
from hf_dd.gallery import site
from hf_dd.gallery.collect import Entry, collect

LISTED = 200  # sets that the card of a Space names


def push(options: GalleryPushOptions) -> str:
    """`hf-dd gallery push`: put the pages up as a static Space, in one commit that replaces the former pages.

    Unless they are of sources that were named, they read the Hub when they are opened: newer sets are there too. A
    public Space shows what is found only if everybody may read it.
    Raises errors as `collect`, and HubError where the token may not write there, before anything is read.
    """
    repo_id = hub.full_repo_id(options.hub_space_id)
    hub.require_pushable(repo_id, "space", private=options.hub_private_repo)
    entries = collect(options.sources, options.tag, options.owner, public=not options.hub_private_repo)
    live = None if options.sources else {"hub": hub.endpoint(), "tag": options.tag, "owner": options.owner}
    with files.writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        site.write(Path(folder), entries, live)
        files.write_text(Path(folder) / CARD, card(entries))
        count = f"{len(entries)} set{'' if len(entries) == 1 else 's'}"
        return f"pushed: {hub.publish_space(Path(folder), repo_id, f'Gallery of {count}', options.hub_private_repo)}"


def card(entries: list[Entry]) -> str:
    """The card of the Space: what the Hub reads of it."""
    front = SpaceCardData(
        title=site.TITLE,
        sdk="static",
        app_file="index.html",
        datasets=[entry.ref for entry in entries if entry.ref][:LISTED],
        tags=["hf-dd", "dataset-distillation"],
        emoji="🔬",
        colorFrom="gray",
        colorTo="blue",
        fullWidth=True,
        header="mini",
        short_description="Small sets that stand in for large ones",
    )
    return render(SpaceCard, front, "space_card.md.jinja")


def front_page() -> str:
    """The page that an embedded Hub shows at `/`: it reads the Hub that it comes from, all views in one."""
    live = {"hub": "", "tag": "hf-dd", "owner": None}
    return site.page([], {"view": "sets"}, hub="", live=live, single=True, repositories="/repositories")
