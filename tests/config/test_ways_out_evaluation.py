"""The ways out of messages on evaluations, typed as they are printed."""

import shutil

import datasets
import pytest

from hf_dd.core.registry import PROTOCOLS
from tests.config.stock import made, saved
from tests.config.ways import cases, row, take

ONLINE = "--eval_protocol soft-label-online"
LOOKING = [name for name in PROTOCOLS.declared if PROTOCOLS[name].looks]


@made
def make_guided(stock, folder):
    return stock.run("{dm} --clom ce --teachers {mlp}", folder)


@made
def make_otherwise(stock, folder):
    return stock.run("{dm} --clom ce --teachers {convnet}", folder)


@made
def make_labelled(stock, folder):
    """A set with soft labels."""
    return stock.run("{random} --soft_labels mean --teachers {mlp}", folder)


@made
def make_lost(stock, folder):
    """A set whose teacher, a folder, isn't there any more."""
    teacher = shutil.copytree(stock["local"], folder.with_name("gone"))
    stock.run(f"{{random}} --soft_labels mean --teachers {teacher}@final", folder)
    shutil.rmtree(teacher)
    return folder


@made
def make_more(stock, folder):
    """Data of the classes of `three`, but of other images."""
    return saved(folder, count=4)


@made
def make_headed(stock, folder):
    """A set of three classes, made by a teacher of ten with a head of those."""
    return stock.run("{random} --dataset {three} --soft_labels mean --teachers {mlp} --fit_head", folder)


@made
def make_trusting(stock, folder):
    return stock.run("{random} --soft_labels mean --teachers {pickled} --trusted_teachers {pickled}", folder)


@made
def make_plain(stock, folder):
    """Rows without a record."""
    shutil.copytree(stock["set"], folder, ignore=shutil.ignore_patterns("hf_dd.json", "README.md"))
    return folder


@made
def make_whitened(stock, folder):
    return stock.run("{random} --zca", folder)


@made
def make_own(stock, folder):
    return stock.run("{random} --dataset {dim}", folder)


@made
def make_published(stock, folder):
    return stock.run("{random} --dataset {dim} --statistics published", folder)


@made
def make_of_three(stock, folder):
    """A set of one image of each class, of three real ones."""
    return stock.run("{random} --dataset {three}", folder)


@made
def make_partly_tested(stock, folder):
    """A set of one image of each class, of three real ones, one of which has no test images."""
    data = saved(folder.with_name("partly"))
    rows = datasets.Dataset.from_parquet(str(data / "test.parquet"), cache_dir=str(stock.folder / "cache"))
    rows.select([place for place, label in enumerate(rows["label"]) if label != 1]).to_parquet(
        str(data / "test.parquet")
    )
    return stock.run(f"{{random}} --dataset {data}", folder)


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
        "Nothing would be evaluated",
        "evaluate {set} {evaluated} --eval_copies",
        "by (--eval_copies), -> {0} 8bit",
        "by (--baselines)\\. -> {0} random",
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
        "evaluate {set} {evaluated} --regimes hard --save_students kept --push_students own",
        "leave (--regimes) out -> !{0} !--push_students",
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
        "… was made of all images of …, which has no test split",
        "evaluate mine {evaluated}",
        "anew with (--test_share 0.2), which -> hf-dd {random} --dataset {untested} --output_dir mine {0} "
        "--overwrite_output_dir; --eval_students 1",
        "name others by (--test_split) -> {0} more",
        first="hf-dd {random} --dataset {untested} --output_dir mine",
    ),
    row(
        "name it by --test_split, hold out",
        "evaluate mine {evaluated} --dataset {untested}",
        "name it by (--test_split) -> {0} more",
        "each class by (--test_share 0.2), or -> {0}",
        first="hf-dd {random} --dataset {three} --train_split test --output_dir mine",
    ),
    row(
        "… was made of the images of … that a share of … left",
        "evaluate mine {evaluated} --test_share 0.6",
        r"give (--test_share 0\.4)\. -> !--test_share {0}",
        first="hf-dd {random} --dataset {untested} --output_dir mine --test_share 0.4",
    ),
    row(
        "… was made of images of … that --test_share … would test on",
        "evaluate mine {evaluated} --test_share 0.4",
        "name a test split by (--test_split) -> !--test_share {0} more",
        "that --test_share (0.4) would test on: distil it anew with that option -> hf-dd {random} --dataset "
        "{untested} --output_dir mine --test_share {0} --overwrite_output_dir; --eval_students 1",
        first="hf-dd {random} --dataset {untested} --output_dir mine",
    ),
    row(
        "… of the class … would be beside … real ones",
        "use continual {of_three} --eval_copy float --eval_protocol dc --eval_epochs 1 --eval_architecture MLP "
        "--orders 1 --steps 2 --baselines random --output_dir out",
        "by (--eval_copy 8bit), or",
        "by (--baselines) without a value",
    ),
    row(
        "… has no test image of …, and none of all classes of a step",
        "use continual {partly_tested} --eval_protocol dc --eval_epochs 1 --eval_architecture MLP --orders 1 "
        "--steps 3 --baselines random --output_dir out",
        "smaller (--steps), or -> {0} 2",
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
        "… was allowed to read pickles and run its own code",
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
        "--eval_mix … has no place in the protocol",
        "evaluate {set} {evaluated} --eval_protocol idc --eval_mix mixup",
        "leave it out -> !--eval_mix",
        "another (--eval_protocol) -> {0} dsa",
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
        "evaluate {abc} {evaluated}",
        "by (--dataset) -> {0} {three}",
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


@pytest.mark.usefixtures("one_thread", "one_classifier")
@pytest.mark.parametrize(**cases(ROWS))
def test_the_way_is_open(row, way, stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, stock)
