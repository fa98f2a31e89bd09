"""The cards: fixed records render exactly the golden files, and their front matter says what machines look for.

After a wanted change of a template: HF_DD_WRITE_GOLDEN=1 pytest
tests/artefacts/test_cards.py, then read the difference.
"""

import copy
import dataclasses
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from hf_dd.artefacts import licences, papers
from hf_dd.artefacts.set_records import DistilledRecord, ImportedRecord
from hf_dd.artefacts.teacher_record import TeacherRecord
from hf_dd.config import spelt
from hf_dd.core.registry import OBJECTIVES
from hf_dd.core.text import duration, number
from tests.factories import assert_clean

GOLDEN = Path(__file__).parents[1] / "golden"
ENDPOINT = "https://hub.example"
ENTRIES = re.compile(r"^@\w+\{(.*),$", re.MULTILINE)  # of BibTeX
DATA_SHA, TEACHER_SHAS = "d" * 40, ("a" * 40, "b" * 40)
VERSIONS = {"python": "3.11.7", "hf-dd": "0.1.0", "torch": "2.9.0"}
DATA = {
    "name": "local/pets",
    "reference": f"local/pets@{DATA_SHA}",
    "repo_id": "local/pets",
    "revision": "v1",
    "sha": DATA_SHA,
    "license": "cc-by-4.0",
    "class_names": ["cat", "dog"],
    "channels": 3,
    "image_size": [8, 12],
    "mean": [0.5, 0.25, 0.125],
    "std": [0.2, 0.2, 0.1],
    "train_images": 400,
    "fingerprint": "f" * 32,
}
DATASET_INFO = {
    "features": [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": {"class_label": {"names": {"0": "cat", "1": "dog"}}}},
        {"name": "pixel_values", "dtype": {"array3_d": {"shape": [3, 8, 12], "dtype": "float32"}}},
    ],
    "splits": [{"name": "train", "num_bytes": 5000, "num_examples": 10}],
    "download_size": 4000,
    "dataset_size": 5000,
}


def teacher(architecture, seed, sha, revision, epoch, accuracy):
    return {
        "repo_id": f"local/pets-{architecture.lower()}-seed{seed}",
        "revision": revision,
        "sha": sha,
        "architecture": architecture,
        "seed": seed,
        "epoch": epoch,
        "dataset": f"local/pets@{DATA_SHA}",
        "accuracy": accuracy,
    }


def row(name, copy, mean, std):
    return {
        "set": name,
        "architecture": "ConvNet",
        "copy": copy,
        "n": 3,
        "mean": mean,
        "std": std,
        "half_width": 2.5 * std,
        "scores": [mean - std, mean, mean + std],
        "protocol": "dsa v1, changed: epochs 300",
        "learning_rate": 0.01,
        "epochs": 300,
        "seconds": 12.5,
        "ipc": 5,
        "bytes": 12_345,
        "own_learning_rate": False,
        "baseline": None,
        "backbone": None,
    }


RESULTS = {
    "protocol": {
        "name": "dsa",
        "version": 1,
        "changed": ["epochs"],
        "epochs": 300,
        "learning_rate": 0.01,
        "augment": "color_crop",
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "batch_size": 256,
    },
    "rows": [
        row("pets-dm-clom-ce-ipc5", "float", 81.254, 0.456),
        row("random real, ipc 5", "8bit", 60.0, 1.0) | {"baseline": "random"},
    ],
    "majority": 55.0,
    "chance": 50.0,
    "hardware": "CPU, 1 process of 2 threads",
    "scores": [],
    "plot": None,
}


@pytest.fixture
def distilled():
    """Two Hub teachers, two rows of results, pushed."""
    return DistilledRecord(
        name="pets-dm-clom-ce-ipc5",
        data=copy.deepcopy(DATA),
        settings={
            "objective": "dm",
            "ipc": 5,
            "iterations": 1000,
            "architecture": "ConvNet",
            "seed": 0,
            "clom": "ce",
            "clom_alpha": 100.0,
        },
        teachers=[
            teacher("ConvNet", 0, TEACHER_SHAS[0], "epoch-4", 4, 0.87),
            teacher("MLP", 1, TEACHER_SHAS[1], "final", 12, 0.9),
        ],
        pool="local/pets-teachers-0123456789abcdef01234567",
        diversity={
            "images": 40,
            "cka": 0.81234,
            "disagreement": 0.125,
            "pairs": [{"teachers": [0, 1], "cka": 0.81234, "disagreement": 0.125}],
        },
        run={
            "iterations": 1000,
            "seconds": 123.4,
            "losses": {"total": 1.5, "dm": 1.0, "clom": 0.5},
            "hardware": "CPU, 1 process of 2 threads",
        },
        dataset_info=copy.deepcopy(DATASET_INFO),
        parquet_sha256="e" * 64,
        command="hf-dd distill --dataset local/pets --ipc 5",
        versions=dict(VERSIONS),
        results=copy.deepcopy(RESULTS),
        pushed={"repo_id": "local/pets-distilled", "tag": "v1"},
    )


@pytest.fixture
def trained():
    return TeacherRecord(
        name="pets-convnet-seed0",
        architecture="ConvNet",
        seed=0,
        epoch=4,
        dataset=f"local/pets@{DATA_SHA}",
        accuracy=0.87125,
        loss=0.34567,
        seconds=61.4,
        data=copy.deepcopy(DATA),
        training={
            "epochs": 12,
            "learning_rate": 0.01,
            "momentum": 0.9,
            "weight_decay": 0.005,
            "batch_size": 256,
            "lr_drops": [1 / 3, 2 / 3],
            "augment": "none",
            "architecture_options": ["width=16"],
            "mixed_precision": "no",
            "seed": 0,
        },
        command="hf-dd pretrain --dataset local/pets --epochs 12",
        hardware="CPU, 1 process of 2 threads",
        versions=dict(VERSIONS),
    )


def compare_with_golden(name, card):
    path = GOLDEN / name
    if os.environ.get("HF_DD_WRITE_GOLDEN"):
        path.write_text(card)
    assert card == path.read_text()


def test_the_dataset_card(distilled):
    compare_with_golden("dataset_card.md", distilled.card(ENDPOINT))


def test_the_teacher_card(trained):
    compare_with_golden("teacher_card.md", trained.card(ENDPOINT))


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("evaluated", [True, False])
@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.parametrize("on_the_hub", [True, False])
def test_every_form_of_the_dataset_card_is_clean(distilled, guided, evaluated, pushed, on_the_hub):
    if not guided:
        distilled.teachers, distilled.pool = [], None
        distilled.settings["clom"] = "none"
    if not evaluated:
        distilled.results = None
    if not pushed:
        distilled.pushed = None
    if not on_the_hub:
        distilled.data.update(repo_id=None, revision=None, sha=None, name="digits", reference="digits")
        for one in distilled.teachers:
            one.update(repo_id="outputs/teachers/x/epoch-4", sha="sha256:" + "c" * 64, dataset="digits")
    card = distilled.card(ENDPOINT)
    tables = assert_clean(card)
    assert len(tables) == guided + evaluated
    assert ("CLoM `ce`, α = 100" in card) == guided
    assert ("81.25 ± 0.46" in card) == evaluated
    assert ('load_dataset("local/pets-distilled", revision="v1", split="train")' in card) == pushed
    assert ("PATH_OF_THIS_FOLDER" in card) == (not pushed)
    link = f"[`aaaaaaaa`]({ENDPOINT}/local/pets-convnet-seed0/tree/{TEACHER_SHAS[0]})"
    assert (link in card) == (guided and on_the_hub)
    assert ("`sha256:cccccccccccc`" in card) == (guided and not on_the_hub)


def test_a_pool_says_of_its_diversity_what_is_known(distilled):
    found = distilled.diversity
    for cka, disagreement, words in (
        (
            0.5,
            None,
            "no two teachers predict the data set's classes, and the mean pairwise CKA of their features is 0.5",
        ),
        (None, 0.25, "a pair of teachers disagrees about 25.00 % of them (mean pairwise disagreement).\n"),
    ):
        found.update(cka=cka, disagreement=disagreement)
        found["pairs"][0].update(cka=cka, disagreement=disagreement)
        card = distilled.card(ENDPOINT)
        assert_clean(card)
        assert f"On 40 validation images of the training split, {words}" in card
    distilled.diversity = None
    assert "validation images of the training split" not in distilled.card(ENDPOINT)


@pytest.mark.parametrize("objective", ["strange", "strange_module:Method"])
def test_a_card_says_of_a_method_only_what_its_author_says(distilled, objective):
    distilled.settings |= {"objective": objective, "clom": "none", "init": "strange_module:start"}
    card = distilled.card("https://hub")
    assert_clean(card)
    assert f"made by\n{objective} with 2 pre-trained teachers." in card
    assert "The method doesn't say what part they took, from the pool" in card and "took no part" not in card
    distilled.settings |= {"clom": "ce"}
    assert "One teacher was drawn per step" in distilled.card("https://hub")
    distilled.settings |= {"clom": "none", "objective": "dm", "init": "real"}
    card = distilled.card("https://hub")
    assert "They took no part in the distillation, but label its images" in card
    assert ", labelled by 2 pre-trained teachers.\n" in card and " with 2 pre-trained" not in card
    assert distilled.summary.startswith("dm labelled by 2 teachers, ipc ")


def test_a_card_says_whose_its_plug_ins_are(distilled, trained):
    assert "Plug-ins" not in distilled.card("https://hub") + trained.card(ENDPOINT)
    mine = {"package": "their-package", "version": "1.2"}
    distilled.plugins = {"objective strange": mine, "start odd:start": {"module": "odd", "sha256": "ab" * 32}}
    distilled.results = copy.deepcopy(RESULTS) | {"plugins": {"protocol brief": mine}}
    card = distilled.card("https://hub")
    assert_clean(card)
    assert (
        "\nPlug-ins: objective `strange` of their-package 1.2; start `odd:start` of the module odd (sha256 "
        "`abababababab`); protocol `brief` of their-package 1.2.\n"
    ) in card
    trained.plugins = {"architecture Thin": {"module": "__main__"}}
    assert "\nPlug-ins: architecture `Thin` of the module \\_\\_main\\_\\_.\n" in trained.card(ENDPOINT)


def test_a_pull_request_has_no_tag_to_load(distilled):
    distilled.pushed["tag"] = None
    card = distilled.card(ENDPOINT)
    assert_clean(card)
    assert 'load_dataset("local/pets-distilled", split="train")' in card


def test_one_image_per_class_is_not_many(distilled):
    distilled.settings["ipc"] = 1
    card = distilled.card(ENDPOINT)
    assert "distilled to 1 image per class" in card and "distilled, 1 image per class" in card


def test_a_card_says_what_alpha_came_to_and_what_all_of_it_took(distilled):
    distilled.settings["clom_alpha"] = "auto"
    distilled.run |= {"clom_alpha": 1234.5678, "planning_seconds": 754.0, "seconds": 0.26}
    for spec, repo, seconds in zip(distilled.teachers, ("a", "a"), (100.0, 7300.0), strict=True):
        spec.update(repo_id=repo, seconds=seconds)
    card = distilled.card(ENDPOINT)
    assert_clean(card)
    assert "(CLoM `ce`, α = auto, which came to 1235; [Lu et al., 2023](" in card
    assert "| 87.00 % | 100 s |" in card and "| 90.00 % | 2.0 h |" in card
    assert (
        "1,000 iterations in 0.3 s on CPU, 1 process of 2 threads, from `local/pets` at `"
        + DATA_SHA
        + "`. The run took "
        "13 min to plan itself; the command has what it decided. The teachers had taken 2.0 h to train.\n"
    ) in card
    del distilled.run["clom_alpha"]
    assert "α = auto; [Lu" in distilled.card(ENDPOINT)


def test_numbers_have_the_digits_that_are_worth_reading():
    assert [number(value) for value in (0.304794, 1e-5, 3.0, 7, 12345.67, 0.0)] == [
        *("0.3048", "1e-05", "3", "7", "12,346", "0"),
    ]
    assert number([0.304794, 0.25]) == "[0.3048, 0.25]"
    assert [duration(seconds) for seconds in (0, 0.26, 9.96, 61.4, 599, 601, 7200)] == [
        *("less than 0.1 s", "0.3 s", "10.0 s", "61 s", "599 s", "10 min", "2.0 h"),
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_teacher_card_is_clean(trained, seed):
    trained.seed = seed
    trained.training["architecture_options"] = []
    tables = assert_clean(trained.card(ENDPOINT))
    assert "| architecture_options | none |" in tables[0] and "| lr_drops | 0.3333, 0.6667 |" in tables[0]
    assert len(tables) == 1
    trained.data.update(repo_id=None, revision=None, sha=None, name="digits", channels=1)
    assert_clean(trained.card(ENDPOINT))


@pytest.mark.parametrize("plotted", [False, True])
@pytest.mark.parametrize("scored", [False, True])
def test_several_architectures_are_a_matrix_and_a_plot(distilled, plotted, scored):
    rows = distilled.results["rows"]
    rows += [one | {"architecture": "timm/a|b", "mean": one["mean"] - 2} for one in rows]
    distilled.results["plot"] = "results.png" if plotted else None
    inputs = {"distilled": rows[0], "full": rows[1] | {"protocol": "dc v1", "mean": 93.456}}
    score = {"name": "relative_accuracy", "set": "a|b", "copy": "float", "architecture": "ConvNet", "parts": {}}
    distilled.results["scores"] = [score | {"value": 0.87654, "inputs": inputs}] * 2 if scored else []
    card = distilled.card(ENDPOINT)
    tables = assert_clean(card)
    assert len(tables) == 3 + scored
    assert tables[1] == [
        "| set | copy | ConvNet | timm/a\\|b |",
        "|---|---|---|---|",
        "| pets-dm-clom-ce-ipc5 | float | 81.25 ± 0.46 | 79.25 ± 0.46 |",
        "| random real, ipc 5 | 8bit | 60.00 ± 1.00 | 58.00 ± 1.00 |",
    ]
    assert ("![Accuracies by architecture](results.png)" in card) == plotted
    of = "distilled 81.25 (dsa v1, changed: epochs 300); full 93.46 (dc v1)"
    assert (f"| a\\|b | float | ConvNet | relative_accuracy | 0.8765 | {of} |" in card) == scored


def test_a_row_says_its_rate_its_epochs_and_its_backbone(distilled):
    first, second = distilled.results["rows"]
    for one in (first, second):
        one.update(backbone="c" * 40, architecture="me/teacher@final")
    first.update(learning_rate=0.02, own_learning_rate=True, epochs=100)
    card = distilled.card(ENDPOINT)
    assert_clean(card)
    assert "| 3 | 100 | 0.02 (the set's own) |" in card and "The set's own rate was learned with its images." in card
    assert "| me/teacher@final (`cccccccc`) |" in card and "| 3 | 300 | 0.01 |" in card
    first["backbone"] = "sha256:" + "d" * 64
    assert "(`sha256:dddddddddddd`)" in distilled.card(ENDPOINT)
    del first["epochs"], first["own_learning_rate"], first["backbone"], distilled.results["plot"]  # an older record
    assert_clean(distilled.card(ENDPOINT))


def test_names_that_markdown_or_yaml_would_take_for_syntax(distilled):
    distilled.data["class_names"] = ["yes", "1", "a: b", "- c", "| d", "ü"]
    distilled.results["rows"][0]["set"] = "a|b"
    distilled.teachers[0].update(repo_id="outputs/a|b", sha="sha256:" + "c" * 64)
    card = distilled.card(ENDPOINT)
    assert_clean(card)
    assert DatasetCard(card).data.to_dict()["license"] == "cc-by-4.0"


def test_the_front_matter_of_a_dataset(distilled):
    front = DatasetCard(distilled.card(ENDPOINT)).data.to_dict()
    assert front["license"] == "cc-by-4.0"
    assert front["task_categories"] == ["image-classification"]
    assert front["size_categories"] == ["n<1K"]
    assert front["source_datasets"] == ["local/pets"]
    assert front["pretty_name"] == "local/pets distilled, 5 images per class"
    assert front["configs"] == [
        {
            "config_name": "default",
            "description": f"Rows with the sha256 {'e' * 64}.",
            "data_files": [{"split": "train", "path": "data/train-*"}],
        }
    ]
    assert front["dataset_info"] == DATASET_INFO
    assert set(front["tags"]) == {"dataset-distillation", "hf-dd", "synthetic", "objective:dm", "clom:ce"}
    distillation = front["distillation"]
    assert distillation["objective"] == "dm" and distillation["ipc"] == 5 and distillation["iterations"] == 1000
    assert distillation["clom"] == {"distance": "ce", "alpha": 100.0}
    assert distillation["teachers"] == distilled.teachers
    assert set(distillation["teachers"][0]) == set(
        "repo_id revision sha architecture seed epoch dataset accuracy".split()
    )


@pytest.mark.parametrize("ipc, category", [(499, "n<1K"), (500, "1K<n<10K"), (5_000, "10K<n<100K")])
def test_the_size_category(distilled, ipc, category):
    distilled.settings["ipc"] = ipc
    assert DatasetCard(distilled.card(ENDPOINT)).data.to_dict()["size_categories"] == [category]


def test_the_front_matter_without_a_guide(distilled):
    distilled.teachers, distilled.pool = [], None
    distilled.settings["clom"] = "none"
    front = DatasetCard(distilled.card(ENDPOINT)).data.to_dict()
    assert not any(tag.startswith("clom") for tag in front["tags"])
    assert front["distillation"]["teachers"] == [] and "clom" not in front["distillation"]


def test_the_front_matter_of_a_teacher(trained):
    card = trained.card(ENDPOINT)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "hf-dd" and front["license"] == "cc-by-4.0"
    assert front["pipeline_tag"] == "image-classification" and front["datasets"] == ["local/pets"]
    assert set(front["tags"]) >= {"hf-dd-teacher", "arch:ConvNet", "seed:0"}
    (result,) = ModelCard(card).data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("accuracy", 0.87125, "test")
    trained.data["test_split"] = "validation"
    assert ModelCard(trained.card(ENDPOINT)).data.eval_results[0].dataset_split == "validation"
    assert (result.dataset_type, result.dataset_revision) == ("local/pets", DATA_SHA)
    assert not any(tag.startswith("dataset:") for tag in front["tags"])  # the Hub adds it


def test_a_record_comes_back_from_its_json(distilled, trained):
    for record in (distilled, trained):
        again = type(record)(**json.loads(json.dumps(dataclasses.asdict(record))))
        assert again == record and again is not record


# --- papers


def test_every_method_with_a_paper_has_a_link_to_it_and_an_entry_to_cite():
    methods = [name for name in OBJECTIVES.declared if OBJECTIVES.said(name, "paper")]
    assert set(OBJECTIVES.declared) - set(methods) == {"random", "teacher-score", "teacher-score-hard"}  # nobody's
    link = re.compile(r"\[[^]]+\]\(https://(arxiv\.org/abs/\d{4}\.\d{5}|doi\.org/10\.\S+)\)")
    for name in methods:
        words = papers.said_of(name)
        on_neither = name in ("moderate", "facility-location", "cim")  # arXiv, or with a DOI
        assert (link.fullmatch(papers.link_of(name)) is None) == on_neither
        entry = papers.entry(name, words).splitlines()
        assert entry[0] == f"@{'misc' if name in ('clom', 'sfm') else 'inproceedings'}{{{name}," and entry[-1] == "}"
        fields = dict(re.fullmatch(r"  (\w+) = \{(.+)\},?", line).groups() for line in entry[1:-1])
        assert fields["title"] == words["work"] and fields["author"].count(",") == fields["author"].count(" and ") + 1
        assert 2009 <= int(fields["year"]) <= 2026 and fields.get("eprint") == words.get("arxiv")


def test_a_card_links_to_all_that_the_set_rests_on_each_once(distilled):
    distilled.settings |= {"augment": "flip", "init": "herding", "factor": 2}
    card = distilled.card(ENDPOINT)
    assert_clean(card)
    assert (
        "made by\ndistribution matching (DM), [Zhao & Bilen, WACV 2023](https://arxiv.org/abs/2110.04181), guided by "
        "2 pre-trained teachers (CLoM `ce`, α = 100; [Lu et al., 2023](https://arxiv.org/abs/2310.03295)).\n"
    ) in card
    assert ENTRIES.findall(card) == ["dm", "clom", "dsa", "herding", "idc", "hf-dd"]
    assert "a start from real images chosen by herding, [Welling, ICML 2009](https://doi.org/10.1145/" in card
    assert "Name this set by its tag, `local/pets-distilled@v1`. It rests on distribution matching (DM), [" in card
    distilled.settings |= {"objective": "dsa", "clom": "none"}
    assert distilled.card(ENDPOINT).count("@inproceedings{dsa,") == 1
    distilled.settings |= {"objective": "sre2l"}  # which has views of its own
    assert "@inproceedings{dsa," not in distilled.card(ENDPOINT)
    distilled.settings |= {"objective": "herding", "iterations": 0, "factor": 1}
    assert ENTRIES.findall(distilled.card(ENDPOINT)) == ["herding", "hf-dd"]


def test_a_method_without_a_paper_is_cited_by_the_tool_alone(distilled):
    distilled.settings |= {"objective": "random", "clom": "none", "iterations": 0, "init": "real"}
    distilled.pushed, distilled.teachers = None, []
    card = distilled.card(ENDPOINT)
    assert_clean(card)
    assert "made by\na random choice of real images.\n" in card and "## Cite\n\n```bibtex\n@software{hf-dd," in card
    assert card.endswith("  version = {0.1.0}\n}\n```\n") and 'author = "{The hf-dd developers}",' in card


def test_the_tool_is_cited_as_its_own_citation_says(distilled):
    own = yaml.safe_load((GOLDEN.parents[1] / "CITATION.cff").read_text())
    title, author = own["title"], own["authors"][0]["name"]
    assert f'  title = {{{title}}},\n  author = "{{{author}}}",\n' in distilled.card(ENDPOINT)
    (clom,) = own["references"]
    assert (clom["title"], clom["url"]) == (OBJECTIVES.said("clom", "work"), papers.address(papers.said_of("clom")))
    assert OBJECTIVES.said("clom", "authors") == " and ".join(
        f"{each['family-names']}, {each['given-names']}" for each in clom["authors"]
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("arXiv 2110.04181v2", "[arXiv 2110.04181v2](https://arxiv.org/abs/2110.04181)"),
        ("https://arxiv.org/abs/2110.04181", "[https://arxiv.org/abs/2110.04181](https://arxiv.org/abs/2110.04181)"),
        ("https://example.org/a(b)", "[https://example.org/a(b)](https://example.org/a%28b%29)"),
        ("Zhao & Bilen, 2023", "Zhao & Bilen, 2023"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("version 12110.041811", "version 12110.041811"),
    ],
)
def test_a_paper_that_is_stated_is_a_link_where_it_can_be(text, shown):
    assert papers.stated(text) == shown


# --- what a set is, what it wasn't tested on, whose it is


def imported(**stated):
    return ImportedRecord(
        name="foreign",
        data=copy.deepcopy(DATA),
        command="hf-dd import foreign.pt --dataset local/pets",
        versions=dict(VERSIONS),
        settings={"method": None, "paper": None, "license": "unknown", "factor": 1, **stated},
        dataset_info=copy.deepcopy(DATASET_INFO),
        origin={"name": "foreign.pt", "format": "dc", "files": {}, "pin": None, "images": 10},
        images=10,
        normalisation={"name": "none", "mean": [], "certainty": "stated", "distance": 0.1, "others": {}},
        classes={"verdict": "confirmed", "accuracy": 0.9, "agreement": 0.9, "order": "by position", "moved": ""},
        soft_labels=False,
        accuracies={},
    )


@pytest.mark.parametrize(
    ("method", "synthetic"),
    [
        ("DM", True),
        ("SRe2L", True),
        ("RDED", False),
        ("herding", False),
        ("SRe2L++", False),
        ("ABC/DM", False),
        (None, False),
    ],
)
def test_an_imported_set_is_synthetic_where_its_method_is_known_to_optimise(method, synthetic):
    card = imported(method=method).card(ENDPOINT)
    assert_clean(card)
    assert ("synthetic" in DatasetCard(card).data.tags) == synthetic
    assert ("were optimised to train on: they are no sample" in card) == synthetic
    assert ("as hf-dd knows it: [" in card) == (method not in ("SRe2L++", "ABC/DM", None))
    assert "null" not in card.split("---\n")[1]


def test_an_imported_set_links_to_the_paper_that_was_stated():
    card = imported(method="DM", paper="https://arxiv.org/abs/2110.04181", license="My own terms").card(ENDPOINT)
    assert "| paper | [https://arxiv.org/abs/2110.04181](https://arxiv.org/abs/2110.04181) (stated) |" in card
    page = f"{ENDPOINT}/datasets/local/pets/blob/{DATA_SHA}/README.md"
    assert (
        f"My own terms, as whoever imported the set stated it; [local/pets]({page}), which it was distilled from, is "
        "under cc-by-4.0."
    ) in card
    front = DatasetCard(card).data.to_dict()
    assert [front[key] for key in ("license", "license_name", "license_link")] == ["other", "my-own-terms", page]


def test_chosen_images_are_real_ones_and_not_synthetic(distilled):
    distilled.settings |= {"objective": "rded", "iterations": 0, "clom": "none"}
    card = distilled.card(ENDPOINT)
    assert_clean(card)
    assert "synthetic" not in DatasetCard(card).data.tags and "![The images by class]" in card
    assert "- The images are real ones of local/pets, or parts of them:" in card and "One choice, of seed 0" in card
    assert "that of [local/pets](" in card and "whose images these are." in card


def test_what_a_set_was_not_tested_on(distilled):
    card = distilled.card(ENDPOINT)
    assert "students of one architecture (ConvNet) trained from scratch, which is the one that the images were" in card
    distilled.settings["objective"] = "sre2l"  # of its teachers' architecture
    assert "(ConvNet) trained from scratch.\n" in distilled.card(ENDPOINT)
    assert "sizes other than 8×12 pixels; images from elsewhere, or disturbed ones; the 8-bit copy; any use" in card
    rows = distilled.results["rows"]
    rows += [rows[0] | {"copy": "8bit"}, rows[0] | {"architecture": "MLP"}]
    distilled.settings["init"] = "noise"
    card = distilled.card(ENDPOINT)
    assert "students of 2 architectures (ConvNet, MLP) trained from scratch.\n" in card
    assert "disturbed ones; any use but training classifiers" in card and "optimised to train on: they are" in card
    distilled.results = None
    assert "- Not tested at all: no student has been trained on it yet" in distilled.card(ENDPOINT)


def test_a_source_that_the_hub_converted_has_its_card_on_main(distilled):
    record = dataclasses.replace(distilled, data=DATA | {"revision": "refs/convert/parquet"})
    assert record.source_page(ENDPOINT) == f"{ENDPOINT}/datasets/local/pets/blob/main/README.md"


def test_a_source_that_is_not_on_the_hub_is_no_source_of_the_hub(distilled, trained):
    for record in (distilled, trained):
        record.data.update(repo_id=None, revision=None, sha=None, name="digits", reference="digits", license="unknown")
    front = DatasetCard(distilled.card(ENDPOINT)).data.to_dict()
    assert "source_datasets" not in front and front["license"] == "unknown"
    assert "Unknown: digits, of whose training images these were made, states none." in distilled.card(ENDPOINT)
    assert "Unknown: digits, which it was trained on, states none." in trained.card(ENDPOINT)
    front = ModelCard(trained.card(ENDPOINT)).data.to_dict()
    assert "datasets" not in front and "model-index" not in front  # no id of the Hub
    assert "dataset:digits" in front["tags"]  # by which `--teacher_tags dataset:digits` finds it


def test_front_matter_has_nothing_that_is_null(distilled):
    distilled.teachers[0] |= {"seed": None, "library": "timm", "trusted": False, "head": None, "seconds": 1.5}
    distilled.teachers[1] |= {"library": "hf_dd", "trusted": True}
    card = distilled.card(ENDPOINT)
    assert "null" not in card.split("---\n")[1]
    first, second = DatasetCard(card).data.to_dict()["distillation"]["teachers"]
    assert set(first) == set("repo_id revision sha architecture epoch dataset accuracy library seconds".split())
    assert second["trusted"] is True and "library" not in second


def test_soft_labels_are_said_to_be_made_by_machines(distilled):
    assert "annotations_creators" not in DatasetCard(distilled.card(ENDPOINT)).data.to_dict()
    distilled.soft_labels = {"kind": "mean", "temperature": 2.0, "teachers": list(TEACHER_SHAS)}
    front = DatasetCard(distilled.card(ENDPOINT)).data.to_dict()
    assert front["annotations_creators"] == ["machine-generated"]


def test_a_successor_stands_at_the_top(distilled):
    distilled.new_version = "local/pets-better"
    card = distilled.card(ENDPOINT)
    assert_clean(card)
    words = f"**A newer set takes the place of this one: [local/pets-better]({ENDPOINT}/datasets/local/pets-better).**"
    assert f"distilled to 5 images per class\n\n{words}\n\n10 synthetic images" in card
    assert DatasetCard(card).data.to_dict()["new_version"] == "local/pets-better"


def test_a_licence_is_as_the_hub_takes_it():
    assert licences.front("CC-BY-4.0", DATA) == {"license": "cc-by-4.0"}
    assert licences.front("other", DATA) == {"license": "other", "license_name": "license-of-pets"}
    assert licences.front("GPL-2.0/MIT", DATA) == {"license": "other", "license_name": "gpl-2-0-mit"}


EVIL = "\x1b[2J|`rm`<script>x</script>\n---\nlicense: evil\n# [a](http://evil)"


def test_texts_of_others_do_nothing_on_a_card(distilled):
    names = {"name": EVIL, "license": EVIL, "class_names": [EVIL, "dog"]}
    record = dataclasses.replace(
        distilled,
        data=DATA | names,
        teachers=[each | {"architecture": EVIL, "dataset": EVIL} for each in distilled.teachers],
    )
    card = record.card(ENDPOINT)
    front = DatasetCard(card).data.to_dict()
    assert front["license"] == "other" and front["license_name"] == spelt(EVIL) and "evil" not in front
    body = card.split("\n---\n", 1)[1]
    assert "\x1b" not in card and "\n---\n" not in body and "\n# [" not in body
    assert "<script>" not in body.replace("\\<script\\>", "") and "[a](" not in body.replace("\\[a\\](", "")
    assert_clean(card.replace("\\`", ""))
