"""The three sizes at which every notebook runs: `tiny` on two cores, `colab` on one 16 GB GPU, `paper`.

The paper's models were trained on JFT-300M, which is not public. Public ImageNet-21k checkpoints stand in.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """The models, images and amounts of one size of run.

    Attributes:
        name: "tiny", "colab" or "paper".
        vits: Vision Transformers, as `seelike.models.load` names them.
        resnets: ResNets, likewise.
        images: An image set, as `seelike.data.load` names it; None where the user has to give one.
        images_note: What the reader must know about these images, or the error where there are none.
        number_of_images: Images in each repeat, drawn without replacement.
        batch_size: Images in each minibatch of CKA.
        repeats: Draws of images; their spread gives the uncertainty.

    Example:
        >>> PROFILES["paper"].batch_size, PROFILES["paper"].number_of_images, PROFILES["paper"].repeats
        (1024, 10240, 20)
    """

    name: str
    vits: tuple[str, ...]
    resnets: tuple[str, ...]
    images: str | None
    number_of_images: int
    batch_size: int
    repeats: int
    images_note: str = ""


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="tiny",
            vits=("tiny/vit_7x7", "tiny/vit_14x14"),
            resnets=("tiny/resnet", "tiny/resnet_wide"),
            images="fashion-mnist/test",
            number_of_images=512,
            batch_size=128,
            repeats=5,
        ),
        # ViT-H/14 and ResNet152x2 do not fit beside the others.
        Profile(
            name="colab",
            vits=("vit_base_patch32_224.orig_in21k", "vit_large_patch16_224.orig_in21k"),
            resnets=("resnetv2_50x1_bit.goog_in21k",),
            images="fashion-mnist/test",
            number_of_images=2560,
            batch_size=256,
            repeats=5,
            images_note="These images are grey garments: a stand-in for the photographs that the models "
            "were trained on. Set images to a folder of photographs to come nearer to the paper.",
        ),
        # Appendix A of the paper: minibatches of 1024, 10,240 images, 20 repeats.
        Profile(
            name="paper",
            vits=(
                "vit_base_patch32_224.orig_in21k",
                "vit_large_patch16_224.orig_in21k",
                "vit_huge_patch14_224.orig_in21k",
            ),
            resnets=("resnetv2_50x1_bit.goog_in21k", "resnetv2_152x2_bit.goog_in21k"),
            images=None,
            number_of_images=10_240,
            batch_size=1024,
            repeats=20,
            images_note="The paper profile measures on photographs, and none come with seelike. "
            "Give a folder of ImageNet validation images: images='FOLDER' in the parameters cell, "
            "or -p images FOLDER with papermill.",
        ),
    )
}
