"""Published networks with 7,000 to 10,000 parameters. All hand in the same course's task."""

from torchvision import transforms

from mnist_s7.baselines.architecture import Architecture
from mnist_s7.baselines.published import Source, Stated, augmented_by, published
from mnist_s7.optimizers import Adam
from mnist_s7.schedules import OneCycleLR, RateTable, StepLR

PRASHANT_7568 = published(
    Source("Prashant-Bhar8waj/Training-MNIST-under-8k", "d7389ff"),
    "prashant-7568",
    Stated(99.51, "best epoch, the 11th, of one run; last epoch 99.48"),
    Architecture(
        """
        conv 3x3 8, relu, batchnorm
        conv 3x3 9, relu, batchnorm
        conv 3x3 10, relu, batchnorm, maxpool 2
        conv 3x3 12, relu, batchnorm
        conv 3x3 16, relu, batchnorm
        conv 3x3 20, relu, batchnorm
        conv 1x1 10, avgpool 5, flatten, logsoftmax
        """
    ),
    augmented_by(
        transforms.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1)),
        transforms.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1),  # the last two change no grey
    ),
    lr=0.015,
    schedule=StepLR(gamma=0.1, step=6),
    batch_size=256,
)

SHUBHAMVERMA_7910 = published(
    Source("ShubhamVerma16/ERA-Session-7", "73324d4"),
    "shubhamverma-7910",
    Stated(99.40, "best epoch of one run's first 15; last 99.33; what they put forward is of the next 15"),
    Architecture(
        """
        conv 3x3 10, relu, batchnorm
        conv 3x3 10, relu, batchnorm
        conv 3x3 20, relu, batchnorm, dropout 0.1, maxpool 2
        conv 1x1 10, relu, batchnorm, dropout 0.1
        conv 3x3 10, relu, batchnorm
        conv 3x3 20, relu, batchnorm
        conv 1x1 10, relu, batchnorm, dropout 0.1
        conv 3x3 10, relu, batchnorm
        conv 3x3 10, relu, batchnorm
        avgpool 3, flatten, logsoftmax
        """
    ),
    lr=0.05,
    schedule=StepLR(gamma=0.05, step=3),
)

SHUBHAMVERMA_TWICE = SHUBHAMVERMA_7910.variant(
    "twice",
    "30 epochs: their network was trained twice for 15, the second time from the first one's weights",
    Stated(99.45, "best epoch of one run, which they call the 9th, and which is the 24th; last epoch 99.44"),
    differs="the optimiser's momentum goes on where theirs starts again, at 0",
    schedule=RateTable(2 * tuple(0.05 * 0.05 ** (epoch // 3) for epoch in range(15))),
    epochs=30,
)

SNEHANSHU_7918 = published(
    Source("snehanshu-raj/ERA", "bcde181"),
    "snehanshu-7918",
    Stated(99.52, "best epoch, the 11th, of one run; last epoch 99.50"),
    Architecture(
        """
        conv 3x3 10 pad 1, batchnorm, relu
        conv 3x3 10 pad 1, batchnorm, relu
        conv 3x3 10 pad 1, batchnorm, relu, maxpool 2
        conv 3x3 16, batchnorm, relu
        conv 3x3 16, batchnorm, relu
        conv 3x3 8, batchnorm, relu
        conv 3x3 8, batchnorm, relu
        conv 1x1 8, batchnorm, relu
        conv 1x1 16, batchnorm, relu
        globalavgpool, conv 1x1 10, flatten, logsoftmax
        """
    ),
    augmented_by(transforms.RandomRotation(7)),
    lr=0.005,
    algorithm=Adam(),
    schedule=StepLR(gamma=0.1, step=8),
    batch_size=64,
)

UDAY96_8500 = published(
    Source("uday96/EVA4-TSAI", "5746528"),
    "uday96-8500",
    Stated(99.49, "best epoch, the 10th, 11th and last, of one run"),
    Architecture(
        """
        conv 3x3 8, relu, batchnorm, dropout 0.05
        conv 3x3 10, relu, batchnorm, dropout 0.05
        conv 3x3 12, maxpool 2
        conv 3x3 16, relu, batchnorm, dropout 0.05
        conv 3x3 16, relu, batchnorm, dropout 0.1
        conv 3x3 16, relu, batchnorm
        globalavgpool, conv 1x1 10, flatten, logsoftmax
        """
    ),
    lr=0.01,
    schedule=StepLR(gamma=0.1, step=6),
    batch_size=32,
)

SCHOOL_OF_AI_8932 = published(
    Source("The-School-of-AI/era-s7-ram", "539cd2d"),
    "school-of-ai-8932",
    Stated(99.50, "best epoch, which is the last, of one run"),
    Architecture(
        """
        conv 3x3 4, batchnorm, relu, dropout 0.05
        conv 3x3 4, batchnorm, relu, dropout 0.05
        conv 3x3 8, batchnorm, relu, dropout 0.05, maxpool 2
        conv 1x1 8, batchnorm, relu, dropout 0.05
        conv 3x3 16, batchnorm, relu, dropout 0.05
        conv 3x3 16, batchnorm, relu, dropout 0.05
        conv 3x3 16 pad 1, batchnorm, relu, dropout 0.05
        conv 3x3 16 pad 1, batchnorm, relu, dropout 0.05
        conv 1x1 10, avgpool 7, flatten, logsoftmax
        """
    ),
    augmented_by(transforms.RandomRotation(35, fill=1)),  # 1 of 255: next to black
    differs="a block of 2,336 parameters that theirs holds and never uses is left out",
    lr=0.1,
)

EVA6_9320 = published(
    Source("EVA6-Group-15/MNIST_99_4", "b8834aa"),
    "eva6-9320",
    Stated(99.57, "best epoch, which is the last, of the best of about 60 runs", best_of=60),
    Architecture(
        """
        conv 3x3 4 pad 1 bias, relu, dropout 0.069
        conv 3x3 8 pad 1 bias, relu, batchnorm
        conv 3x3 12 pad 1 bias, relu, batchnorm
        conv 3x3 16 pad 1 bias, relu, batchnorm
        conv 3x3 20 pad 1 bias, relu, batchnorm, maxpool 2
        conv 1x1 4 bias
        conv 3x3 8 bias, relu, batchnorm
        conv 3x3 12 bias, relu, batchnorm
        conv 3x3 16 bias, relu, batchnorm
        conv 1x1 10 bias, avgpool 8, flatten, linear 10 bias, logsoftmax
        """
    ),
    augmented_by(
        transforms.RandomRotation(5),
        transforms.RandomAffine(8, translate=(0.15, 0.15), scale=(0.85, 1.15)),
        transforms.ColorJitter(brightness=0.1, contrast=0.1),
    ),
    differs="a BatchNorm of 8 parameters that theirs holds and never uses is left out",
    lr=0.01,
    schedule=StepLR(gamma=0.25, step=8),
    batch_size=64,
    epochs=19,
)

SATYAJIT_9962 = published(
    Source("satyajitghana/TSAI-DeepVision-EVA4.0", "bfcf567"),
    "satyajit-9962",
    Stated(
        99.47,
        "best epoch, which is the last, of the better of two runs of one recipe; the other's last: 99.42",
        best_of=2,
    ),
    Architecture(
        """
        conv 3x3 14, relu, batchnorm, dropout 0.1
        conv 3x3 30, relu, batchnorm, dropout 0.1
        conv 1x1 10, maxpool 2
        conv 3x3 14, relu, batchnorm, dropout 0.1
        conv 3x3 15, relu, batchnorm, dropout 0.1
        conv 3x3 15, relu, batchnorm, dropout 0.1
        avgpool 6, conv 1x1 15, batchnorm, relu, dropout 0.1
        conv 1x1 10, flatten, logsoftmax
        """
    ),
    augmented_by(transforms.RandomRotation(10, fill=1)),  # 1 of 255: next to black
    lr=0.01,
    momentum=0.9,  # without effect: OneCycleLR sets it in each step
    schedule=OneCycleLR(),
)

SATYAJIT_AS_WRITTEN = SATYAJIT_9962.variant(
    "as-written",
    "momentum 0.9, as their call of SGD has it: OneCycleLR cycles it by default",
    schedule=OneCycleLR(cycle_momentum=False),
)

BELOW_10K = (
    PRASHANT_7568,
    *(SHUBHAMVERMA_7910, SHUBHAMVERMA_TWICE),
    SNEHANSHU_7918,
    UDAY96_8500,
    SCHOOL_OF_AI_8932,
    EVA6_9320,
    *(SATYAJIT_9962, SATYAJIT_AS_WRITTEN),
)
