"""Licences as the Hub's front matter takes them: an id of its list, or `other` with a name and a link."""

from collections.abc import Mapping
from typing import Any

from hf_dd.config import slug, spelt

OTHER = "other"
KNOWN = frozenset(  # docs/hub/repositories-licenses.md of huggingface/hub-docs, August 2026
    """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr
    mpl-2.0 odc-by odbl openmdw-1.0 openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    grok2-community gemma unknown
    """.split()
)


def front(license: str, data: Mapping[str, Any], link: str | None = None) -> dict[str, str]:
    """The keys of front matter for a licence as the source, or whoever imported a set, calls it.

    The Hub refuses ids that it doesn't know.

    Args:
        license: as it is called.
        data: of the source, see `data_record`: it names a licence that has no name.
        link: where the terms are, if that is known.
    """
    if license.lower() in KNOWN:
        return {"license": license.lower()}
    name = spelt(license) if license != OTHER else f"license-of-{slug(data['name'])}"
    return {"license": OTHER, "license_name": name, **({"license_link": link} if link else {})}
