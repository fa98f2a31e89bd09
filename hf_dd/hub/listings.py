"""What the Hub lists: models and data sets by their tags, and collections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from huggingface_hub import Collection as HubCollection

from hf_dd.errors import HubError, some
from hf_dd.hub import client
from hf_dd.hub.client import clear_errors, endpoint
from hf_dd.hub.permission import require_writable, user
from hf_dd.hub.places import Pin, require_commit

TITLE_LIMIT, DESCRIPTION_LIMIT, NOTE_LIMIT = 60, 150, 500  # characters of a collection's, and of an item's note


@dataclass(frozen=True)
class CollectionItem:
    """One item of a collection: a repository and its note."""

    repo_id: str
    kind: str
    note: str

    def __str__(self) -> str:
        return f"{self.kind} {self.repo_id}"


@dataclass(frozen=True)
class Collection:
    """A Hub collection: its slug, title and items."""

    slug: str
    title: str
    items: tuple[CollectionItem, ...]

    @property
    def url(self) -> str:
        """The collection's page."""
        return f"{endpoint()}/collections/{self.slug}"


def find_models(filters: Sequence[str], owner: str | None = None) -> dict[str, list[str]]:
    """All models (of an owner) that carry all of these Hub tags, sorted by their ids: each with all of its tags."""
    with clear_errors(f"models tagged {' '.join(filters)}"):
        found = {model.id: model.tags or [] for model in client.api().list_models(filter=list(filters), author=owner)}
    return dict(sorted(found.items()))


def find_datasets(filters: Sequence[str], owner: str | None = None, public: bool = False) -> list[Pin]:
    """All data sets (of an owner) that carry all of these Hub tags, sorted by their ids: each at its commit now.

    If `public`, without those that not everybody may read.
    """
    asked = {"filter": list(filters), "author": owner, "expand": ["sha", "private", "gated"]}
    with clear_errors(f"data sets tagged {' '.join(filters)}"):
        listed = [
            each for each in client.api().list_datasets(**asked) if not (public and (each.private or each.gated))
        ]
        found = {each.id: each.sha for each in listed}
        for sha in found.values():
            require_commit(sha or "")
    return [Pin(repo_id, "main", sha) for repo_id, sha in sorted(found.items())]


def create_collection(
    title: str,
    items: Sequence[CollectionItem],
    *,
    namespace: str | None,
    description: str | None = None,
    default: str = "",
    private: bool = False,
    is_own: Callable[[CollectionItem], bool] = lambda item: True,
) -> Collection:
    """Make a collection, or bring the one of this title and owner to these items and notes.

    Args:
        title: of the collection.
        items: all that it is to hold.
        namespace: its owner; the token's user if None.
        description: what it is to say; where None, it says what it does.
        default: what a new one says without a description.
        private: whether a new one is private.
        is_own: whether an item that isn't among these may be removed.

    Raises HubError before anything is written where the title, the description or a note is longer than the Hub takes,
    where the token may not write there, or where the one that is there is public and is to be private, or holds an
    item that may not be removed.
    """
    for item in items:
        if len(item.note) > NOTE_LIMIT:
            raise HubError(
                f"The note that pins {item.repo_id} has {len(item.note)} characters; the Hub takes {NOTE_LIMIT}. Put "
                "fewer of its revisions into one pool (about nine fit)."
            )
    for what, text, limit in (("title", title, TITLE_LIMIT), ("description", description or "", DESCRIPTION_LIMIT)):
        if len(text) > limit:
            raise HubError(f"The {what} has {len(text)} characters; the Hub takes {limit}: shorten it.")
    owner = namespace or user()
    what = f"collection {title!r} of {owner}"
    require_writable(owner, what)
    with clear_errors(what, push=True):
        made = client.api().create_collection(
            title, namespace=owner, description=description or default, private=private, exists_ok=True
        )
        if private and not made.private:
            raise HubError(
                f"Collection {made.slug} is there already, and public: make it private on its page, give another "
                "title, or leave out --private."
            )
        present = {(item.item_type, item.item_id): item for item in made.items}
        others = [item for item in items_of(made) if not is_own(item)]
        if others:
            raise HubError(
                f"Collection {made.slug} is there already, and holds what isn't a pool's: {some(others)}. Give "
                "another title, or remove that from it on its page."
            )
        if description and (made.description or "") != description:
            client.api().update_collection_metadata(made.slug, description=description)
        for item in items:
            old = present.pop((item.kind, item.repo_id), None)
            if old is None:
                client.api().add_collection_item(made.slug, item.repo_id, item.kind, note=item.note)
            elif (old.note or "") != item.note:
                client.api().update_collection_item(made.slug, old.item_object_id, note=item.note)
        for old in present.values():
            client.api().delete_collection_item(made.slug, old.item_object_id)
    return read_collection(made.slug)


def read_collection(slug: str) -> Collection:
    """A collection with all of its items."""
    with clear_errors(f"collection {slug}"):
        found = client.api().get_collection(slug)
        return Collection(found.slug, found.title, items_of(found))


def items_of(found: HubCollection) -> tuple[CollectionItem, ...]:
    """What the client's collection holds."""
    return tuple(CollectionItem(item.item_id, item.item_type, item.note or "") for item in found.items)
