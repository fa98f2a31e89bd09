"""What the Hub's client keeps once for all repositories is read by each, and removed by none."""

import hashlib

import pytest
from huggingface_hub.file_download import _create_symlink
from huggingface_hub.utils._shared_blobs import publish_blob_to_shared_store, shared_blob_path

from hf_dd.hub import places

CONTENT, XET = b"weights" * 1000, "c3" * 32


@pytest.fixture
def shared(tmp_path):
    """A file of a snapshot as it lies after a download by Xet, and where its content is."""
    repo = tmp_path / "models--timm--resnet18"
    blob = repo / "blobs" / hashlib.sha256(CONTENT).hexdigest()
    file = repo / "snapshots" / ("a" * 40) / "x.safetensors"
    for path in (blob, file):
        path.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT)
    about = {"xet_hash": XET, "cache_dir": str(tmp_path), "expected_size": len(CONTENT)}
    assert publish_blob_to_shared_store(blob_path=str(blob), **about)
    _create_symlink(str(blob), str(file))
    return file, shared_blob_path(tmp_path, XET)


def test_a_shared_file_is_compared_with_its_repositorys_digest(shared):
    file, _ = shared
    places.require_intact(file)
    assert file.read_bytes() == CONTENT


def test_a_shared_file_that_is_damaged_is_named_and_stays(shared):
    file, entry = shared
    entry.chmod(0o644)
    entry.write_bytes(CONTENT[::-1])
    with pytest.raises(ValueError, match=f"digest that it should have: remove .*{XET}, which other repositories"):
        places.require_intact(file)
    assert entry.is_file() and not file.is_symlink() and not any((file.parents[2] / "blobs").iterdir())
