"""Handlers for uploads: card check, plan, large files, commits."""

import hashlib
import hmac

import yaml
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from hf_dd.local_hub.calls import Call, route
from hf_dd.local_hub.commits import commit_operations, parse_commit, plan_upload
from hf_dd.local_hub.errors import HubHttpError
from hf_dd.local_hub.listing import parse_card


@route("POST", "/api/validate-yaml")
def validate_card(call: Call):
    """Whether a README's metadata can be read."""
    try:
        card = parse_card(call.json("content")["content"])
    except yaml.YAMLError as error:
        return JSONResponse({"errors": [{"message": f"YAML Metadata Error: {error}"}], "warnings": []}, 400)
    warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
    return {"errors": [], "warnings": warnings}


@route("POST", "/api/{kind}/{repo}/preupload/{revision}")
def plan(call: Call):
    """How each announced file is to be sent."""
    git, body = call.git(call.changeable()), call.json("files")
    commit = git.resolve(call.parts["revision"])
    return {
        "files": plan_upload(git, commit, body["files"], body.get("gitIgnore") or ""),
        "commitOid": commit.decode(),
    }


@route("POST", "/{web_repo}.git/info/lfs/objects/batch")
def offer_upload(call: Call):
    """Where to PUT each large file; an object without actions is there already."""
    call.logged_in()
    record, body = call.readable(), call.json("operation", "objects")
    if body["operation"] != "upload":
        raise HubHttpError(422, "Large files are downloaded from resolve/, not by the batch API")
    storage, answers = call.hub.repositories.lfs(record.uid), []
    for wanted in body["objects"]:
        answer = {"oid": wanted["oid"], "size": wanted["size"]}
        if storage.size(wanted["oid"]) is None:
            name = f"{record.uid}/{wanted['oid']}"
            href = f"{call.endpoint}/lfs-upload/{name}?signature={_signature(call, name)}"
            answer["actions"] = {"upload": {"href": href, "header": {}}}
        answers.append(answer)
    content = {"transfer": "basic", "objects": answers, "hash_algo": "sha256"}
    return JSONResponse(content, media_type="application/vnd.git-lfs+json")


@route("PUT", "/lfs-upload/{uid}/{oid}")
async def receive_object(call: Call):
    """A large file's content, straight to disk; the signed address stands in for a token."""
    uid, oid = call.parts["uid"], call.parts["oid"]
    if not hmac.compare_digest(call.query.get("signature", [""])[0], _signature(call, f"{uid}/{oid}")):
        raise HubHttpError(403, "This upload address wasn't given out by this server, or before it restarted")
    with call.hub.repositories.lfs(uid).upload(oid) as upload:
        async for chunk in call.request.stream():
            await run_in_threadpool(upload.write, chunk)
        await run_in_threadpool(upload.finish)
    return Response(headers={"ETag": f'"{oid}"'})


def _signature(call, name):
    return hmac.new(call.hub.upload_key, name.encode(), hashlib.sha256).hexdigest()


@route("POST", "/api/{kind}/{repo}/commit/{revision}")
def commit(call: Call):
    """A commit on a branch or pull request, or (`create_pr`) a new pull request on top of a branch."""
    record, revision = call.changeable(), call.parts["revision"]
    git, lfs = call.git(record), call.hub.repositories.lfs(record.uid)
    header, operations = parse_commit(call.body)
    ref = revision if revision.startswith("refs/pr/") else f"refs/heads/{revision}"
    answer = {"success": True}
    with git.lock:
        pull_request = git.next_pull_request() if call.flag("create_pr") else None
        new_ref = f"refs/pr/{pull_request}" if pull_request else None
        oid = commit_operations(git, lfs, ref, header, operations, call.user, new_ref).decode()
    url = call.endpoint + record.web_path
    answer |= {"commitOid": oid, "commitUrl": f"{url}/commit/{oid}"}
    return answer | ({"pullRequestUrl": f"{url}/discussions/{pull_request}"} if pull_request else {})
