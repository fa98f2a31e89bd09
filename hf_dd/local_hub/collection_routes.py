"""Handlers for collections."""

from hf_dd.local_hub.calls import Call, route
from hf_dd.local_hub.collections import describe_collection
from hf_dd.local_hub.errors import HubHttpError

COLLECTIONS_PER_PAGE = 100


@route("POST", "/api/collections")
def create_collection(call: Call):
    """A new collection in a namespace of the caller."""
    body = call.json("title", "namespace")
    call.owner_of(body["namespace"])
    description, private = body.get("description"), bool(body.get("private"))
    return describe_collection(call.hub.collections.create(body["namespace"], body["title"], description, private))


@route("GET", "/api/collections")
def list_collections(call: Call):
    """The collections the caller may see, newest first, by owner and by item ("models/ns/name")."""
    owners, wanted = call.query.get("owner"), set(call.query.get("item", []))
    found = []
    for collection in reversed(call.hub.collections.all()):
        owner = collection["owner"]["name"]
        items = {f"{item['type']}s/{item['id']}" for item in collection["items"]}
        if call.may_see(owner, collection["private"]) and owner in (owners or [owner]) and wanted <= items:
            found.append(collection)
    return call.page(found, COLLECTIONS_PER_PAGE, lambda collection: describe_collection(collection, listed=True))


@route("GET", "/api/collections/{slug}")
def get_collection(call: Call):
    """One collection with all its items."""
    return describe_collection(_visible(call))


@route("PATCH", "/api/collections/{slug}")
def edit_collection(call: Call):
    """Change its metadata."""
    edited = call.hub.collections.edit(_own(call), call.json())
    return {"success": True, "data": describe_collection(edited)}


@route("DELETE", "/api/collections/{slug}")
def delete_collection(call: Call):
    """Remove it."""
    call.hub.collections.delete(_own(call))
    return {"success": True}


@route("POST", "/api/collections/{slug}/items")
def add_item(call: Call):
    """Append a repository the caller can read."""
    slug, body = _own(call), call.json("item")
    item = call.readable(body["item"]["type"], body["item"]["id"])
    return describe_collection(call.hub.collections.add_item(slug, item.kind, item.repo_id, body.get("note")))


@route("PATCH", "/api/collections/{slug}/items/{item}")
def edit_item(call: Call):
    """Change an item's note or position."""
    call.hub.collections.edit_item(_own(call), call.parts["item"], call.json())
    return {"success": True}


@route("DELETE", "/api/collections/{slug}/items/{item}")
def delete_item(call: Call):
    """Take an item out."""
    call.hub.collections.delete_item(_own(call), call.parts["item"])
    return {"success": True}


def _visible(call):
    collection = call.hub.collections.get(call.parts["slug"])
    if not call.may_see(collection["owner"]["name"], collection["private"]):
        raise HubHttpError(404, "Collection not found")
    return collection


def _own(call):
    """The slug of the route's collection, which the caller may change."""
    collection = _visible(call)
    call.owner_of(collection["owner"]["name"])
    return collection["slug"]
