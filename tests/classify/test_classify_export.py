"""One ONNX file gives what showtell gives, for pictures of any shape."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from showtell.classify import DistilledClassifier, export_student
from showtell.classify.chain import export
from showtell.datasets import load_dataset
from showtell.encoders import load_encoder
from showtell.encoders.mini.encoder import CROP_SIDE, RESIZE_SIDE

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SIZES = [
    (1, 1), (2, 3), (90, 60), (60, 90), (224, 224), (256, 256), (257, 255), (320, 213), (213, 320),
    (500, 170), (170, 500), (1600, 1200), (4000, 3000), (3000, 4000),
]  # fmt: skip


def picture(width, height, seed=0):
    """Edges and noise, where rounding shows."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 9, 3)).astype(np.uint8)
    large = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST))
    noise = rng.integers(-25, 26, large.shape)
    return Image.fromarray(np.clip(large.astype(int) + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def before():
    """The first part of the graph alone: picture to pixels."""
    nodes, constants = export._before(onnx, "pixels")
    value, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    graph = onnx.helper.make_graph(
        nodes, "before",
        [value("image", kinds.UINT8, ["height", "width", 3])],
        [value("pixels", kinds.FLOAT, None)],
        constants,
    )  # fmt: skip
    opset = onnx.helper.make_opsetid("", export.OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=export._IR_VERSION)
    return onnxruntime.InferenceSession(model.SerializeToString())


def resized(image):
    """The encoder's pixels, resized across first, whatever Pillow thinks is faster."""
    width, height = image.size
    scale = RESIZE_SIDE / min(width, height)
    wide, high = round(width * scale), round(height * scale)
    across = image.resize((wide, height), Image.Resampling.BICUBIC)
    whole = across.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = (wide - CROP_SIDE) // 2, (high - CROP_SIDE) // 2
    crop = whole.crop((left, top, left + CROP_SIDE, top + CROP_SIDE))
    return np.asarray(crop).transpose(2, 0, 1)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_pixels_are_those_of_pillow_but_for_one_in_a_thousand(before, size):
    image = picture(*size)
    (found,) = before.run(None, {"image": np.asarray(image)})
    levels = np.abs(found[0] * 128 + 127 - resized(image))
    assert found.shape == (1, 3, 224, 224)
    assert levels.max() <= 1
    assert (levels > 0).mean() < 1e-3


@pytest.fixture(scope="module")
def photos(repository):
    return load_dataset(repository / "examples" / "photos")


@pytest.fixture(scope="module")
def student(photos):
    return DistilledClassifier(store=None).fit(photos.images, photos.y)


@pytest.fixture(scope="module")
def session(student, tmp_path_factory):
    path = export_student(student, tmp_path_factory.mktemp("student") / "student.onnx")
    return onnxruntime.InferenceSession(path)


def test_the_file_gives_the_students_own_labels_and_chances(student, session, photos):
    rng = np.random.default_rng(0)
    pictures = []
    for path in photos.images:
        whole = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        width, height = whole.size
        for share in (1, 0.75, 0.5, 0.4):  # parts of photos, so that not all answers are easy
            w, h = round(width * share), round(height * share)
            left, top = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            pictures.append(whole.crop((left, top, left + w, top + h)))
    expected = student.predict_proba(pictures)
    found = [session.run(None, {"image": np.asarray(image)}) for image in pictures]
    labels = np.array([label[0] for label, _, _ in found])
    proba = np.concatenate([p for _, _, p in found])
    assert (labels == expected.argmax(axis=1)).mean() >= 0.99
    assert np.median(np.abs(proba - expected).max(axis=1)) < 0.01
    np.testing.assert_array_equal([c[0] for _, c, _ in found], proba.max(axis=1))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_any_size_gives_one_label_and_chances_that_add_up(session, student, size):
    image = picture(*size)
    label, confidence, proba = session.run(None, {"image": np.asarray(image)})
    assert label.shape == confidence.shape == (1,)
    assert proba.shape == (1, len(student.classes_))
    assert proba.sum() == pytest.approx(1, abs=1e-5)
    assert proba[0, label[0]] == confidence[0]


def test_the_file_says_what_its_numbers_mean(session, student):
    about = json.loads(session.get_modelmeta().custom_metadata_map["showtell"])
    assert about["labels"] == student.classes_.tolist()
    assert about["fingerprint"] == load_encoder("mini").fingerprint
