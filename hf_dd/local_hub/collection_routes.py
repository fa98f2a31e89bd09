"""Handlers for collections."""

from hf_dd.local_hub.calls import Call, route
from hf_dd.local_hub.collections import LONGEST, describe_collection
from hf_dd.local_hub.errors import HubHttpError
from hf_dd.local_hub.untrusted import NOTHING, fields

COLLECTIONS_PER_PAGE = 100


@route("POST", "/api/collections")
def create_collection(call: Call):
    """A new collection in a namespace of the caller."""
    call.logged_in()
    body = _body(call, {"title": str, "namespace": str}, description=str, private=bool)
    call.owner_of(body["namespace"])
    details = body["title"], body["description"], bool(body["private"])
    return describe_collection(call.hub.collections.create(body["namespace"], *details), [])


@route("GET", "/api/collections")
def list_collections(call: Call):
    """The collections the caller may see, newest first, by owner and by item ("models/ns/name")."""
    owners, wanted = call.query.get("owner"), set(call.query.get("item", []))
    found = []
    for collection in visible_collections(call):
        items = visible_items(call, collection)
        ids = {f"{item['type']}s/{item['id']}" for item in items}
        if collection["owner"]["name"] in (owners or [collection["owner"]["name"]]) and wanted <= ids:
            found.append((collection, items))
    return call.page(found, COLLECTIONS_PER_PAGE, lambda each: describe_collection(*each, listed=True))


@route("GET", "/api/collections/{slug}")
def get_collection(call: Call):
    """One collection with all its items."""
    return _described(call, visible_collection(call))


@route("PATCH", "/api/collections/{slug}")
def edit_collection(call: Call):
    """Change its metadata."""
    slug = _own(call)
    body = _body(call, title=str, description=str, position=int, private=bool, theme=str)
    return {"success": True, "data": _described(call, call.hub.collections.edit(slug, body))}


@route("DELETE", "/api/collections/{slug}")
def delete_collection(call: Call):
    """Remove it."""
    call.hub.collections.delete(_own(call))
    return {"success": True}


@route("POST", "/api/collections/{slug}/items")
def add_item(call: Call):
    """Append a repository the caller can read."""
    slug, body = _own(call), _body(call, {"item": dict}, note=str)
    wanted = fields(body["item"], {"type": str, "id": str})
    item = call.readable(wanted["type"], wanted["id"])
    return _described(call, call.hub.collections.add_item(slug, item.kind, item.repo_id, body["note"]))


@route("PATCH", "/api/collections/{slug}/items/{item}")
def edit_item(call: Call):
    """Change an item's note or position."""
    slug = _own(call)
    call.hub.collections.edit_item(slug, call.parts["item"], _body(call, note=str, position=int))
    return {"success": True}


@route("DELETE", "/api/collections/{slug}/items/{item}")
def delete_item(call: Call):
    """Take an item out."""
    call.hub.collections.delete_item(_own(call), call.parts["item"])
    return {"success": True}


def visible_collections(call: Call) -> list[dict]:
    """Those that the caller may see, newest first."""
    found = reversed(call.hub.collections.all())
    return [each for each in found if call.may_see(each["owner"]["name"], each["private"])]


def visible_collection(call: Call) -> dict:
    """The route's collection; 404 if the caller may not see it."""
    collection = call.hub.collections.get(call.parts["slug"])
    if not call.may_see(collection["owner"]["name"], collection["private"]):
        raise HubHttpError(404, "Collection not found")
    return collection


def visible_items(call: Call, collection: dict) -> list[dict]:
    """The items that the caller may see; one that was deleted or renamed shows its name to the owner alone."""
    visible = []
    for item in collection["items"]:
        record = call.hub.repositories.find(item["type"], item["id"])
        private = record.private if record else True
        if call.may_see(record.namespace if record else collection["owner"]["name"], private):
            visible.append(item)
    return visible


def _described(call, collection):
    return describe_collection(collection, visible_items(call, collection))


def _body(call, required=NOTHING, **optional):
    body = call.json(required, **optional)
    for name in body.keys() & LONGEST.keys():
        if len(body[name] or "") > LONGEST[name]:
            raise HubHttpError(400, f"{name} has more than {LONGEST[name]} characters")
    return body


def _own(call):
    """The slug of the route's collection, which the caller may change."""
    collection = visible_collection(call)
    call.owner_of(collection["owner"]["name"])
    return collection["slug"]
