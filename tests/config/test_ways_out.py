"""The ways out of messages on options of a distillation, typed as they are printed."""

import pytest

from tests.config.ways import cases, row, take

NEEDS = "needs teachers: give --teachers, --teacher_tags or --teacher_pool."
GUIDED = "{dm} --clom ce --teachers {mlp}"
FOR_SRE2L = "--teachers {norm} --objective_options batch=10 !--clom !--real_batch_size !--architecture_options"
IDC = "--objective idc --iterations 1 --objective_options outer=1 network_images=8"
RECOVERY = "distill {digits} --objective sre2l --iterations 1 --teachers {norm}"

ROWS = [
    row(
        (NEEDS, "--objective …"),
        "distill --dataset {tagged} --ipc 1 --eval_students 0 --output_dir out --objective teacher-score",
        "(--teachers), -> {0} {of_tagged}",
        "(--teacher_tags) -> {0} hf-dd-teacher dataset:tagged",
        first=lambda stock: stock["of_tagged"],
    ),
    row((NEEDS, "--soft_labels … …"), "{random} --soft_labels mean", "(--teacher_pool) -> {0} {pool}"),
    row((NEEDS, "--clom …"), "{dm} --clom cos", "(--teachers), -> {0} {mlp}"),
    row((NEEDS, "--init …"), "{dm} --init surest", "(--teachers), -> {0} {mlp}"),
    row(
        (NEEDS, "--networks …"),
        "{dm} --networks teachers",
        "(--teachers), -> {0} {convnet} --architecture_options width=16 depth=2",
    ),
    row(
        "--soft_label_temperature: labels of crops serve every temperature",
        "{random} --soft_labels crops --soft_label_views 1 --teachers {mlp} --soft_label_temperature 2",
        "(--soft_label_temperature).*leave it out -> !{0}",
    ),
    row(
        "--… goes with --soft_labels crops",
        "{random} --soft_label_views 1 --teachers {mlp} --soft_labels mean",
        "(--soft_labels crops): add",
        "(--soft_label_views) goes.*leave it out -> !{0}",
    ),
    row("--plan tells how the minutes", "{dm} --plan", "give (--minutes) -> {0} 10"),
    row(
        "--zca whitens whole images",
        "{dm} --zca --factor 2 --augment none",
        "(--zca) whitens.*leave one out -> !{0}",
        r"(--factor) 2.*leave one out -> !{0}",
    ),
    row(
        "--dtype float64 and --mixed_precision … contradict",
        "{random} --dtype float64 --mixed_precision bf16",
        "(--dtype) -> !{0}",
        "(--mixed_precision) -> !{0}",
    ),
    row("--… needs a value", "{dm} --ipc", "`(hf-dd distill --help)` -> {0}"),
    row(
        "--architectures and --teacher_seeds need",
        "pretrain {trained} --architectures",
        "(--architectures) and -> {0} MLP",
    ),
    row(
        "--architectures and --teacher_seeds need",
        "pretrain {trained} --architectures MLP --teacher_seeds",
        "(--teacher_seeds) need -> {0} 1",
    ),
    row(
        "--keep_epochs holds …",
        "pretrain {trained} --architectures MLP --keep_epochs 7",
        r"from (\d+), as drawn -> --keep_epochs {0}",
        r"as drawn, to (\d+) -> --keep_epochs {0}",
        r"\((--epochs)\) -> {0} 7",
    ),
    row(
        ("--clom_alphas and … contradict", "--clom_alpha auto"),
        GUIDED + " --clom_alphas MLP=1 --clom_alpha auto",
        "(--clom_alphas) and.*leave one out -> !{0}",
        "and (--clom_alpha) auto.*leave one out -> !{0}",
    ),
    row(
        ("--clom_alphas and … contradict", "--clom_pool mean-logits"),
        GUIDED + " --clom_alphas MLP=1 --clom_pool mean-logits",
        "and (--clom_pool) mean-logits.*leave one out -> !{0}",
    ),
    row(
        "--clom_pool mean-logits goes with --clom ce",
        GUIDED + " --clom cos --clom_pool mean-logits",
        "--clom ce",
    ),
    row(
        "--clom_real_batch goes with --clom cos",
        GUIDED + " --clom_real_batch 8",
        "--clom cos",
    ),
    row(
        "--… is of …",
        "{dm} --clom_schedule cosine",
        "add (--clom ce) -> {0} --teachers {mlp}",
        "or (--clom cos) -> {0} --teachers {mlp}",
    ),
    row(
        "--… is of …",
        "{dm} --clom_augment crop",
        "add (--clom ce) -> {0} --teachers {mlp}",
        "or (--clom cos) -> {0} --teachers {mlp}",
    ),
    row(
        "--… is of …",
        "{dm} --clom_batch 1",
        "add (--clom ce) -> {0} --teachers {mlp}",
        "or (--clom cos) -> {0} --teachers {mlp}",
    ),
    row(
        "--objective … is CLoM alone",
        "distill {digits} --objective clom --iterations 1",
        "add (--clom ce) -> {0} --teachers {mlp}",
        "or (--clom cos).* and teachers -> {0} --teachers {mlp}",
    ),
    row(
        "--clom has nothing to guide",
        "{random} --clom ce --teachers {mlp}",
        "(--clom) has nothing -> !{0} !--teachers",
        "(--objective) random optimises nothing -> {0} dm {small}",
    ),
    row(
        "--init … asks experts",
        "{dm} --objective dm --init expert-correct",
        "choose another start -> --init noise",
    ),
    row(
        "--networks_from is where",
        "{dm} --networks_from {earlier} --architecture_options width=16 depth=2",
        "(--networks between) -> {0} --teachers {convnet}",
        "(--networks_from).*leave it out -> !{0}",
    ),
    row(
        ("Images are chosen by the features", "… Or start from images that are drawn: --init real."),
        "distill {digits} --image_size 1 --iterations 1 --real_batch_size 4 --architecture MLP --augment none",
        r"enlarge them by (--image_size \d+)",
        "--init real",
    ),
    row(
        "--selection_epochs has no meaning",
        "{dm} --dataset {three} --real_batch_size 2 --selection_epochs 1 --init noise",
        "(--selection_epochs).*leave it out -> !{0}",
        "start from (--init herding)",
        r"or ([\w-]+)\.$ -> --init {0}",
    ),
    row(
        "--selection_epochs 0: … chooses",
        "{dm} --selection_epochs 0 --init forgetting --dataset {three} --real_batch_size 2",
        "(--selection_epochs) 0.*leave it out -> !{0}",
    ),
    row(
        "--zca has no meaning",
        "distill {digits} --zca --objective lgm --iterations 1 --teachers {mlp}",
        "(--zca).*leave it out -> !{0}",
    ),
    row(
        "--images_at_once … doesn't divide --ipc",
        RECOVERY + " --ipc 4 --images_at_once 3",
        "take one of (1), -> --images_at_once {0} --objective_options batch=10",
        "(--images_at_once).*leave it out -> !{0}",
    ),
    row(
        "--images_at_once has no meaning for …, whose images are learned together",
        "{dm} --ipc 2 --images_at_once 1",
        "(--images_at_once).*leave it out -> !{0}",
    ),
    row(
        "--images_at_once has no meaning for --minutes",
        RECOVERY + " --ipc 2 --images_at_once 1 --minutes 1 --plan",
        "(--images_at_once).*leave one out -> !{0}",
        "(--minutes).*leave one out -> !{0} !--plan --objective_options batch=10",
    ),
    row(
        "--images_at_once …: batches of",
        RECOVERY + " --ipc 4 --images_at_once 1 --objective_options batch=20",
        "give a multiple of (2), -> --images_at_once {0}",
        "(--images_at_once).*leave it out -> !{0}",
    ),
    row("--experts has no meaning", "{dm} --objective dm --experts {local}", "(--experts).*leave it out -> !{0}"),
    row(
        "--… has no effect without a guide",
        "{dm} --teachers {mlp}",
        "add (--clom ce)",
        "or (--clom cos)",
        r"\(or (--soft_labels)\) -> {0} mean",
    ),
    row(
        "--fit_head has no effect",
        "{dm} --clom cos --teachers {mlp} --fit_head",
        "(--fit_head) has.*leave it out -> !{0}",
        "add (--clom ce)",
        "(--soft_labels), -> {0} mean",
        "(--eval_protocol soft-label-online) -> {0} {students}",
        r"(--objective) with one of .*(?=rded) -> {0} rded "
        "!--clom !--iterations !--architecture_options !--real_batch_size",
        r"one of .*(sre2l) -> --objective {0} " + FOR_SRE2L,
    ),
    row(
        "--… has no meaning for --objective …: leave it out",
        "{random} --iterations 1",
        "(--iterations) has no meaning.*leave it out -> !{0}",
    ),
    row(
        "--augment has no meaning",
        "{dm} --objective dc --augment flip",
        "(--augment) has no meaning.*leave it out -> !{0}",
    ),
    row(
        "--objective_options: … has no …; it has",
        "{dm} --objective dc --objective_options distanc=mse",
        r"it has (\w+) -> --objective_options {0}=mse",
    ),
    row(
        "--objective_options …",
        "{dm} --objective dc --objective_options distance=none",
        r"it takes (\w+), -> --objective_options distance={0}",
    ),
    row(
        "--clom_alphas names",
        GUIDED + " --clom_alphas ConvNet=1",
        r"(--clom_alphas) names -> {0} MLP=1",
        r"teachers are (\w+) -> --clom_alphas {0}=1",
    ),
    row(
        "--objective dsa with --augment none is DC",
        "{dm} --objective dsa --augment none",
        "take (--objective dc --init real)",
    ),
    row(
        "--objective idc matches the gradients",
        "distill {digits} --architecture MLP " + IDC,
        "another (--architecture) -> {0} ConvNet --architecture_options width=8 depth=1",
    ),
    row(
        "--augment … isn't what … augments by",
        "distill {digits} --objective lgm --iterations 1 --teachers {mlp} --augment flip",
        r"(--objective_options views=)…, -> {0}by_size !--augment",
        r"yours by (views=\w+) -> --objective_options {0}",
    ),
    row("--factor … leaves tiles", "{dm} --factor 9", "(--factor) -> {0} 2"),
]


@pytest.mark.usefixtures("one_thread", "bf16")
@pytest.mark.parametrize(**cases(ROWS))
def test_the_way_is_open(row, way, stock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take(row, way, stock)
