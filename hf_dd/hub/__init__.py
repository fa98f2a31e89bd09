"""The only room that talks to the Hub: references and pins, pull, publish, search, collections, and their errors."""

# ruff: noqa: F401  the names that other rooms use

from hf_dd.hub.client import (
    Outrun,
    Refused,
    Taken,
    Unreached,
    clear_errors,
    endpoint,
)
from hf_dd.hub.listings import (
    Collection,
    CollectionItem,
    create_collection,
    find_datasets,
    find_models,
    read_collection,
)
from hf_dd.hub.permission import (
    full_repo_id,
    require_free,
    require_pushable,
    user,
)
from hf_dd.hub.places import (
    DIGEST,
    Pin,
    Place,
    dataset_license,
    digits,
    find,
    front_matter,
    is_private,
    list_files,
    page,
    pull,
    refs,
    resolve,
    short,
    tags,
)
from hf_dd.hub.pushes import (
    ATTEMPTS,
    Publication,
    create_repo,
    create_tag,
    holds,
    publish,
    publish_space,
    push_files,
)
