"""The ways out of messages on evaluations, typed as they are printed."""

import shutil

import pytest
import timm
import torch

from hf_dd.core.registry import PROTOCOLS
from tests.config.ways import Stock, cases, row, saved, take

ONLINE = "--eval_protocol soft-label-online"
LOOKING = [name for name in PROTOCOLS.declared if PROTOCOLS[name].looks]


class Judged(Stock):
    """Sets that students are trained on."""

    def make_guided(self, folder):
        return self.run("{dm} --clom ce --teachers {mlp}", folder)

    def make_otherwise(self, folder):
        return self.run("{dm} --clom ce --teachers {convnet}", folder)

    def make_labelled(self, folder):
        """A set with soft labels."""
        return self.run("{random} --soft_labels mean --teachers {mlp}", folder)

    def make_lost(self, folder):
        """A set whose teacher, a folder, isn't there any more."""
        teacher = shutil.copytree(self["local"], folder.with_name("gone"))
        self.run(f"{{random}} --soft_labels mean --teachers {teacher}@final", folder)
        shutil.rmtree(teacher)
        return folder

    def make_more(self, folder):
        """Data of the classes of `three`, but of other images."""
        return saved(folder, count=4)

    def make_headed(self, folder):
        """A set of three classes, made by a teacher of ten with a head of those."""
        return self.run("{random} --dataset {three} --soft_labels mean --teachers {mlp} --fit_head", folder)

    def make_pickled(self, folder):
        """A model of timm whose weights are a pickle."""
        model = timm.create_model("test_byobnet", num_classes=10)
        names = {"label_names": [str(digit) for digit in range(10)]}
        timm.models.save_for_hf(model, folder, model_config=names, safe_serialization=False)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        return folder

    def make_trusting(self, folder):
        return self.run("{random} --soft_labels mean --teachers {pickled} --trusted_teachers {pickled}", folder)

    def make_plain(self, folder):
        """Rows without a record."""
        shutil.copytree(self["set"], folder, ignore=shutil.ignore_patterns("hf_dd.json", "README.md"))
        return folder

    def make_whitened(self, folder):
        return self.run("{random} --zca", folder)

    def make_own(self, folder):
        return self.run("{random} --dataset {dim}", folder)

    def make_published(self, folder):
        return self.run("{random} --dataset {dim} --statistics published", folder)


ROWS = [
    row(
        "--eval_architectures needs at least one value.",
        "evaluate {set} {evaluated} --eval_architectures",
        "(--eval_architectures) needs -> {0} MLP",
    ),
    row(
        "Name at least one distilled set",
        "evaluate {evaluated}",
        "hf-dd (evaluate) FOLDER_OR_HUB_ID -> hf-dd {0} {set} {evaluated}",
    ),
    row(
        "--baselines …: give 'none' alone",
        "evaluate {set} {evaluated} --baselines none random",
        "give '(none)' alone -> --baselines {0}",
        "(--baselines).*leave it out -> !{0}",
    ),
    row(
        "--eval_protocol … is one protocol",
        "evaluate {set} {evaluated} --regimes hard --eval_protocol dc",
        "(--eval_protocol) dc.*leave one out -> !{0}",
        "and (--regimes) names.*leave one out -> !{0}",
        "by (--regimes .*) alone -> {0} !--eval_protocol",
    ),
    row(
        "--eval_protocol … is one protocol",
        "evaluate {guided} {evaluated} --regimes hard --eval_protocol sl",
        "by (--regimes .*) alone -> {0} !--eval_protocol",
    ),
    row(
        "--scores are of one protocol",
        "evaluate {set} {evaluated} --regimes hard --scores relative_accuracy",
        "leave (--regimes) or -> !{0}",
        "or (--scores) out -> !{0}",
    ),
    row(
        "--push_students and --save_students are of one protocol",
        "evaluate {set} {evaluated} --regimes hard --save_students kept",
        "leave (--regimes) out -> !{0}",
    ),
    row(
        "… has the classes …, but … has",
        "evaluate {set} {evaluated} --dataset {three}",
        "by (--dataset) -> {0} digits",
    ),
    row(
        "… has images of … (channels, height, width)",
        "evaluate {set} {evaluated} --image_size 16",
        "by (--dataset), -> {0} digits !--image_size",
        "or its (--image_size) -> {0} 8",
    ),
    row(
        "… has no test split to evaluate on",
        "evaluate {headed} {evaluated} --dataset {untested}",
        "name it by (--test_split) -> {0} more",
    ),
    row(
        "--eval_teachers has no effect",
        "evaluate {set} {evaluated} --eval_teachers {mlp}",
        "add (--eval_protocol soft-label-online)",
        "(--eval_teachers).*leave it out -> !{0}",
    ),
    row(
        "… and … were made with different teachers",
        "evaluate {guided} {otherwise} {evaluated} " + ONLINE,
        "by (--eval_teachers) -> {0} {mlp}",
    ),
    row(
        "… was made without teachers that students could learn from",
        "evaluate {set} {evaluated} " + ONLINE,
        "name some by (--eval_teachers) -> {0} {mlp}",
        "another (--eval_protocol) -> {0} dc",
    ),
    row(
        "… was let read pickles and run its own code",
        "evaluate {trusting} {evaluated} " + ONLINE,
        r"by (--trusted_teachers \S+), or",
        "by (--eval_teachers) -> {0} {mlp}",
    ),
    row(
        "… Name a teacher by --eval_teachers.",
        "evaluate {lost} {evaluated} " + ONLINE,
        "by (--eval_teachers) -> {0} {mlp}",
    ),
    row(
        "Teachers of the set had heads fitted on",
        "evaluate {headed} {evaluated} --dataset {more} " + ONLINE,
        "by (--dataset), or -> {0} {three}",
        "by (--eval_teachers) -> {0} {of_tagged}",
    ),
    row(
        "--eval_protocol … trains on soft labels",
        "{random} {students} --eval_protocol soft-label",
        "add (--soft_labels mean) and teachers -> {0} --teachers {mlp}",
        "or choose another protocol -> --eval_protocol dc",
    ),
    row(
        "--eval_protocol … trains on labels of crops",
        "{random} {students} --eval_protocol soft-label-crops",
        "add (--soft_labels crops) and teachers -> {0} --teachers {mlp} --soft_label_views 1",
        "or choose another protocol -> --eval_protocol dc",
    ),
    row(
        "--eval_protocol … needs teachers",
        "{random} {students} " + ONLINE,
        "give (--eval_teachers), -> {0} {mlp}",
        "or those of the distillation -> --teachers {mlp}",
    ),
    row(
        "--eval_augment … has no place",
        "evaluate {set} {students} --output_dir out --eval_protocol linear-probe --eval_augment flip "
        "--eval_architectures {mlp}",
        "(--eval_augment).*leave it out -> !{0}",
        "take the crops and flips of (--eval_protocol lgm) -> {0} !--eval_augment",
    ),
    row(
        "--best_of_looks: the protocol … quotes",
        "evaluate {guided} {evaluated} --best_of_looks",
        "(--best_of_looks):.*leave it out -> !{0}",
        *(rf"test split: (?:.*, )?({name})[,.] -> --eval_protocol {{0}}" for name in LOOKING),
    ),
    row(
        "--regimes …=…: students of the protocol",
        "evaluate {guided} {evaluated} --regimes soft=rded",
        r"give (\w+=[\w-]+), or -> --regimes {0}",
        "or another protocol for (soft) -> --regimes {0}=sl",
    ),
    row(
        "--scores augmentation_robust_score",
        "evaluate {set} {evaluated} --eval_architectures {mlp} --eval_protocol linear-probe "
        "--scores augmentation_robust_score",
        "leave that score out -> !--scores",
        "another (--eval_protocol) -> {0} dsa --eval_architectures MLP",
    ),
    row(
        "--eval_architectures … names a pre-trained teacher",
        "evaluate {set} {evaluated} --eval_architectures {mlp}",
        "such as (ConvNet) or -> --eval_architectures {0}",
        r"or (timm/\w+), -> --eval_architectures {0}",
        "--eval_protocol linear-probe",
    ),
    row(
        "--eval_architectures …: the protocol … needs a pre-trained backbone",
        "evaluate {set} {evaluated} --eval_architectures ConvNet --eval_protocol linear-probe",
        "as owner/name@revision or -> --eval_architectures {convnet}",
        "by its local folder -> --eval_architectures {local}",
    ),
    row(
        "… has no stored labels of crops",
        "evaluate mine {evaluated} --eval_protocol soft-label-crops",
        "add (--soft_labels crops), -> {0} --soft_label_views 1",
        "another (--eval_protocol), such as ([^,]*), which asks -> {0} sre2l-kd",
        first=lambda stock: shutil.copytree(stock["guided"], "mine"),
    ),
    row(
        "… has no soft labels",
        "evaluate {set} {evaluated} --eval_protocol soft-label",
        "another (--eval_protocol) -> {0} dc",
    ),
    row(
        "… doesn't say what it was made from, as it isn't a set of hf-dd",
        "evaluate {named} {evaluated}",
        "by (--dataset) -> {0} digits",
    ),
    row(
        "… doesn't say what it was made from: name",
        "evaluate {plain} {evaluated}",
        "by (--dataset) -> {0} digits",
    ),
    row(
        "… was made of whitened images (ZCA)",
        "evaluate {set} {whitened} {evaluated}",
        "by (--zca true) or",
        "or (--zca false),",
    ),
    row(
        "… was made of whitened images (ZCA)",
        "evaluate {whitened} {set} {evaluated}",
        "by (--zca true) or",
        "or (--zca false),",
    ),
    row(
        "… was made of images normalised by",
        "evaluate {own} {published} {evaluated}",
        "by (--statistics own) or",
        "or (--statistics published)",
    ),
    row(
        "…: the students of the protocol … are linear heads",
        "evaluate {set} {evaluated} --eval_protocol linear-probe --eval_architectures {mlp} --save_students kept",
        "another (--eval_protocol), or -> {0} dc --eval_architectures MLP",
        "(--save_students).*or leave it out -> !{0}",
    ),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory, tiny_teachers):
    return Judged(tmp_path_factory.mktemp("judged"), tiny_teachers)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(**cases(ROWS))
def test_the_way_is_open(row, way, judged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, judged)
