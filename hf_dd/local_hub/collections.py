"""Collections: which exist, and what is in them."""

import re
import secrets
import threading

from hf_dd.local_hub.errors import HubHttpError
from hf_dd.local_hub.repositories import timestamp
from hf_dd.local_hub.store import DocumentStore

LONGEST = {"title": 200, "description": 150, "theme": 20, "note": 500}  # characters
ITEMS_IN_LISTS = 4  # the Hub cuts the items in lists; `get_collection` gives all


class Collections:
    """Ordered lists of repositories with a note each, kept as documents by id. Methods raise `HubHttpError`."""

    def __init__(self, documents: DocumentStore):
        self._documents = documents
        self._lock = threading.Lock()

    def create(self, namespace: str, title: str, description: str | None, private: bool) -> dict:
        """A new empty collection; 409 (with the slug of the old one) if the owner has one of that title."""
        with self._lock:
            for other in self.all():
                if (other["owner"]["name"], other["title"]) == (namespace, title):
                    body = {"slug": other["slug"], "error": "Collection already exists"}
                    raise HubHttpError(409, body["error"], body=body)
            collection = {"_id": secrets.token_hex(12), "title": title, "description": description, "private": private}
            collection |= {"owner": {"name": namespace}, "items": [], "theme": "orange", "upvotes": 0, "position": 0}
            self._documents.add("collection", collection["_id"], collection)
            return self._save(collection)

    def all(self) -> list[dict]:
        """Every collection, oldest first."""
        return self._documents.all("collection")

    def get(self, slug: str) -> dict:
        """The collection whose id ends the slug (the rest changes with the title); 404 if there is none."""
        collection = self._documents.get("collection", slug.rsplit("-", 1)[-1])
        if collection is None:
            raise HubHttpError(404, "Collection not found")
        return collection

    def edit(self, slug: str, changes: dict) -> dict:
        """Change what isn't None among title, description, position, privacy and theme."""
        with self._lock:
            return self._save(self.get(slug) | {key: value for key, value in changes.items() if value is not None})

    def delete(self, slug: str):
        """Remove the collection, not what it lists."""
        self._documents.delete("collection", self.get(slug)["_id"])

    def add_item(self, slug: str, kind: str, item_id: str, note: str | None) -> dict:
        """Append an item; 409 if it is there."""
        with self._lock:
            collection = self.get(slug)
            if any((item["type"], item["id"]) == (kind, item_id) for item in collection["items"]):
                raise HubHttpError(409, "Item already in collection")
            item = {"_id": secrets.token_hex(12), "type": kind, "repoType": kind, "id": item_id}
            collection["items"].append(item | _note(note))
            return self._save(collection)

    def edit_item(self, slug: str, object_id: str, changes: dict) -> dict:
        """Change an item's note or position; 404 if it isn't there."""
        with self._lock:
            collection = self.get(slug)
            item = _item(collection, object_id)
            item |= _note(changes["note"])
            if changes["position"] is not None:
                collection["items"].remove(item)
                collection["items"].insert(max(0, min(changes["position"], len(collection["items"]))), item)
            return self._save(collection)

    def delete_item(self, slug: str, object_id: str) -> dict:
        """Take an item out; 404 if it isn't there."""
        with self._lock:
            collection = self.get(slug)
            collection["items"].remove(_item(collection, object_id))
            return self._save(collection)

    def _save(self, collection):
        words = re.sub(r"[^a-z0-9]+", "-", collection["title"].lower()).strip("-")
        collection["slug"] = f"{collection['owner']['name']}/{words}-{collection['_id']}"
        collection["lastUpdated"] = timestamp()
        self._documents.replace("collection", collection["_id"], collection)
        return collection


def describe_collection(collection: dict, items: list[dict], listed: bool = False) -> dict:
    """A collection with those items of it that the caller may see; in a list, the first ones, and no own position."""
    hidden = ("_id", "position") if listed else ("_id",)
    items = [item | {"position": number} for number, item in enumerate(items)]
    described = {key: value for key, value in collection.items() if key not in hidden}
    return described | {"items": items[:ITEMS_IN_LISTS] if listed else items}


def _note(text):
    return {} if text is None else {"note": {"text": text, "html": text}}


def _item(collection, object_id):
    for item in collection["items"]:
        if item["_id"] == object_id:
            return item
    raise HubHttpError(404, "Item not found")
