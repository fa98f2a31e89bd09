"""Handlers for uploads: card check, plan, large files, commits."""

import hashlib
import hmac
import tempfile

import yaml
from starlette.responses import JSONResponse, Response

from hf_dd.local_hub.calls import Call, route
from hf_dd.local_hub.commits import commit_operations, parse_commit, plan_upload
from hf_dd.local_hub.errors import HubHttpError
from hf_dd.local_hub.lfs import MAX_LFS_BYTES
from hf_dd.local_hub.untrusted import fields, parse_card

MAX_COMMIT_BYTES = 2 * 2**30


@route("POST", "/api/validate-yaml")
def validate_card(call: Call):
    """Whether a README's metadata can be read."""
    try:
        card = parse_card(call.json({"content": str})["content"])
    except yaml.YAMLError as error:
        return JSONResponse({"errors": [{"message": f"YAML Metadata Error: {error}"}], "warnings": []}, 400)
    warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
    return {"errors": [], "warnings": warnings}


@route("POST", "/api/{kind}/{repo}/preupload/{revision}")
def plan(call: Call):
    """How each announced file is to be sent."""
    git, body = call.git(call.changeable()), call.json({"files": list}, gitIgnore=str)
    commit = git.resolve(_ref(call))
    return {
        "files": plan_upload(git, commit, body["files"], body["gitIgnore"] or ""),
        "commitOid": commit.decode(),
    }


@route("POST", "/{web_repo}.git/info/lfs/objects/batch")
def offer_upload(call: Call):
    """Where to PUT each large file; an object without actions is there already."""
    call.logged_in()
    record, body = call.readable(), call.json({"operation": str, "objects": list})
    if body["operation"] != "upload":
        raise HubHttpError(422, "Large files are downloaded from resolve/, not by the batch API")
    storage, answers = call.hub.repositories.lfs(record.uid), []
    for each in body["objects"]:
        wanted = fields(each, {"oid": str, "size": int})
        stored, answer = storage.size(wanted["oid"]), dict(wanted)
        if not 0 <= wanted["size"] <= MAX_LFS_BYTES or stored not in (None, wanted["size"]):
            raise HubHttpError(422, f"{wanted['oid']} can't have {wanted['size']} bytes")
        if stored is None:
            name = f"{record.uid}/{wanted['oid']}/{wanted['size']}"
            href = f"{call.endpoint}/lfs-upload/{name}?signature={_signature(call, name)}"
            answer["actions"] = {"upload": {"href": href, "header": {}}}
        answers.append(answer)
    content = {"transfer": "basic", "objects": answers, "hash_algo": "sha256"}
    return JSONResponse(content, media_type="application/vnd.git-lfs+json")


@route("PUT", "/lfs-upload/{uid}/{oid}/{size}")
def receive_object(call: Call):
    """A large file's content, straight to disk; the signed address stands in for a token."""
    uid, oid, size = call.parts["uid"], call.parts["oid"], int(call.parts["size"])
    given, expected = call.query.get("signature", [""])[0], _signature(call, f"{uid}/{oid}/{size}")
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise HubHttpError(403, "This upload address wasn't given out by this server, or before it restarted")
    call.uid = uid
    with call.hub.repositories.lfs(uid).upload(oid, size) as upload:
        for piece in call.content(most=size):
            upload.write(piece)
        upload.finish()
    return Response(headers={"ETag": f'"{oid}"'})


def _signature(call, name):
    return hmac.new(call.hub.upload_key, name.encode(), hashlib.sha256).hexdigest()


@route("POST", "/api/{kind}/{repo}/commit/{revision}")
def commit(call: Call):
    """A commit on a branch or pull request, or (`create_pr`) a new pull request on top of a branch."""
    record, ref = call.changeable(), _ref(call)
    git, lfs = call.git(record), call.hub.repositories.lfs(record.uid)
    answer = {"success": True}
    with tempfile.SpooledTemporaryFile(2**20, dir=call.hub.root) as body:
        for piece in call.content(most=MAX_COMMIT_BYTES):
            body.write(piece)
        body.seek(0)
        with call.hub.committing, git.writing():
            header, operations = parse_commit(body)
            pull_request = git.next_pull_request() if call.flag("create_pr") else None
            new_ref = f"refs/pr/{pull_request}" if pull_request else None
            oid = commit_operations(git, lfs, ref, header, operations, call.user, new_ref).decode()
    url = call.endpoint + record.web_path
    answer |= {"commitOid": oid, "commitUrl": f"{url}/commit/{oid}"}
    return answer | ({"pullRequestUrl": f"{url}/discussions/{pull_request}"} if pull_request else {})


def _ref(call):
    """The branch or pull request that the route's revision names."""
    revision = call.parts["revision"]
    return revision if revision.startswith("refs/pr/") else f"refs/heads/{revision}"
