"""Pascal VOC and COCO boxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from showtell.datasets import Dataset, load_coco, load_dataset, load_voc
from showtell.datasets.boxes import load_boxes
from showtell.errors import DataError, InputError
from showtell.media import Crop, load_image


def voc(objects: str, *, filename: str = "1.jpg", size: str = "", head: str = "") -> str:
    return f"{head}<annotation><filename>{filename}</filename>{size}{objects}</annotation>"


def thing(name: str, *box: object) -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in zip(tags, box, strict=True))
    return f"<object><name>{name}</name><bndbox>{inner}</bndbox></object>"


SIZE = "<size><width>20</width><height>10</height></size>"


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    return tmp_path


def test_voc_counts_from_one_and_includes_the_last_pixel(root):
    picture = Image.new("RGB", (20, 10), "white")
    picture.paste("black", (3, 2, 6, 5))
    picture.save(root / "JPEGImages/1.png")
    objects = thing("cat", 4, 3, 6, 5) + thing(" big  dog ", 1, 1, 20, 10)
    (root / "Annotations/1.xml").write_text(voc(objects, filename="1.png", size=SIZE))
    data = load_voc(root)
    path = str(root / "JPEGImages/1.png")
    assert data.images == [Crop(image=path, box=(3, 2, 6, 5)), Crop(image=path, box=(0, 0, 20, 10))]
    assert data.y.tolist() == ["cat", "big dog"]
    assert data.labels == ("big dog", "cat")
    assert data.groups == [path, path]
    assert data.ids == ["1.xml#1", "1.xml#2"]
    assert load_image(data.images[0]).max() == 0  # exactly the black part


def test_voc_boxes_are_cut_at_the_edge_and_rounded_outwards(root):
    objects = thing("a", -3, 1.5, 25, 99) + thing("a", "2.2", "2.9", "3.1", "3.1")
    (root / "Annotations/1.xml").write_text(voc(objects, size=SIZE))
    assert [crop.box for crop in load_voc(root).images] == [(0, 0, 20, 10), (1, 1, 4, 4)]


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        (thing("a", 5, 5, 4, 9), "object 1: the box is empty"),
        (thing("a", "x", 5, 4, 9), "object 1: a coordinate is not a number"),
        (thing("a", "nan", 5, 4, 9), "object 1: a coordinate is not a number"),
        (thing("a", "inf", 5, 4, 9), "object 1: a coordinate is not a number"),
        (thing("a", 50, 5, 60, 9), "object 1: the box lies outside"),
        (thing("", 1, 1, 4, 9), "object 1 has no name"),
        ("<object><name>a</name></object>", "object 1: a coordinate is not a number"),
    ],
)
def test_wrong_voc_boxes_are_noted_by_file(root, objects, reason):
    (root / "Annotations/bad.xml").write_text(voc(objects, size=SIZE))
    (root / "Annotations/good.xml").write_text(voc(thing("b", 1, 1, 2, 2)))
    data = load_voc(root)
    assert data.labels == ("b",)
    assert data.notes == (f"bad.xml: 1 left out ({reason}).",)


def test_damaged_xml_is_noted_and_entities_are_refused(root):
    (root / "Annotations/a.xml").write_text("<annotation><object>")
    bomb = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "lol"}">' for i in range(12))
    head = f"<?xml version='1.0'?><!DOCTYPE x [{bomb}]>"
    (root / "Annotations/b.xml").write_text(voc(thing("&l11;", 1, 1, 2, 2), head=head))
    outside = "<!DOCTYPE x [<!ENTITY f SYSTEM 'file:///etc/passwd'>]>"
    (root / "Annotations/c.xml").write_text(voc(thing("&f;", 1, 1, 2, 2), head=outside))
    (root / "Annotations/d.xml").write_bytes(
        (
            "<?xml version='1.0' encoding='UTF-16'?>" + voc(thing("&f;", 1, 1, 2, 2), head=outside)
        ).encode("utf-16")
    )
    (root / "Annotations/e.xml").write_text("")
    (root / "Annotations/good.xml").write_text(voc(thing("b", 1, 1, 2, 2)))
    data = load_voc(root)
    assert data.y.tolist() == ["b"]
    notes = " ".join(data.notes)
    assert "a.xml: 1 left out (the file cannot be read: " in notes
    for name in "bcd":
        assert f"{name}.xml: 1 left out (the file cannot be read: it has a document type" in notes
    assert "e.xml: 1 left out" in notes


def test_voc_pictures_are_found_by_name_or_by_stem(tmp_path):
    for name in ("a.jpg", "b.PNG", "c.jpeg"):
        (tmp_path / name).touch()
    box = thing("x", 1, 1, 2, 2)
    (tmp_path / "a.xml").write_text(voc(box, filename="C:\\photos\\b.PNG"))
    (tmp_path / "c.xml").write_text(voc(box, filename="renamed.jpg"))
    (tmp_path / "d.xml").write_text(voc(box, filename="../../d.jpg"))
    (tmp_path / "e.xml").write_text(f"<annotation>{box}</annotation>")
    names = [Path(crop.image).name for crop in load_voc(tmp_path).images]
    assert names == ["b.PNG", "c.jpeg", "d.jpg", "e.jpg"]
    elsewhere = load_voc(tmp_path, images_folder=tmp_path / "x")
    assert elsewhere.images[0].image == str(tmp_path / "x" / "b.PNG")


def test_voc_lists_become_splits(root):
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/train.txt").write_text("1\n")
    (root / "ImageSets/Main/val.txt").write_text("2 -1\n\n")
    for name in "123":
        (root / f"Annotations/{name}.xml").write_text(voc(thing("a", 1, 1, 2, 2)))
    assert load_voc(root).splits == ["train", "validation", ""]


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no usable Pascal VOC box"):
        load_voc(tmp_path)
    with pytest.raises(DataError, match="Cannot list the folder"):
        load_voc(tmp_path / "no")


@pytest.fixture
def coco(tmp_path):
    def write(annotations: list, **more) -> Path:
        value = {
            "images": [
                {"id": 1, "file_name": "a.jpg", "width": 20, "height": 10},
                {"id": 2, "file_name": "s/b.jpg"},
            ],
            "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
            "annotations": annotations,
            **more,
        }
        (tmp_path / "c.json").write_text(json.dumps(value))
        return tmp_path / "c.json"

    return write


def test_coco_boxes(coco, tmp_path):
    path = coco(
        [
            {"id": 11, "image_id": 1, "category_id": 3, "bbox": [2, 3, 4, 5]},
            {"id": 12, "image_id": 2, "category_id": 7, "bbox": [0.5, 0.5, 10.2, 3]},
            {"id": 12, "image_id": 1, "category_id": 7, "bbox": [-5, 0, 50, 50]},
        ]
    )
    data = load_coco(path)
    a, b = str(tmp_path / "a.jpg"), str(tmp_path / "s/b.jpg")
    assert data.images == [
        Crop(image=a, box=(2, 3, 6, 8)),
        Crop(image=b, box=(0, 0, 11, 4)),
        Crop(image=a, box=(0, 0, 20, 10)),
    ]
    assert data.labels == ("dog", "cat")
    assert data.y.tolist() == ["cat", "dog", "dog"]
    assert data.groups == [a, b, a]
    assert data.ids == ["11", "12", "12#3"]
    assert load_coco(path, tmp_path / "imgs").images[0].image == str(tmp_path / "imgs" / "a.jpg")


IN_A = {"image_id": 1, "category_id": 3}
NO_BOX = "a.jpg: 1 left out (annotation 1: a box is four numbers)."


@pytest.mark.parametrize(
    ("annotation", "note"),
    [
        ({**IN_A, "bbox": [1, 1, 0, 5]}, "a.jpg: 1 left out (annotation 1: the box is empty)."),
        ({**IN_A, "bbox": [1, 1, 2]}, NO_BOX),
        ({**IN_A, "bbox": [1, 1, 2, float("inf")]}, NO_BOX),
        ({**IN_A, "bbox": [1, True, 2, 2]}, NO_BOX),
        (
            {**IN_A, "bbox": [50, 1, 2, 2]},
            "a.jpg: 1 left out (annotation 1: the box lies outside).",
        ),
        ({**IN_A, "category_id": 9}, "a.jpg: 1 left out (annotation 1 has no category)."),
        ({**IN_A, "iscrowd": 1}, "a.jpg: 1 left out (a crowd)."),
        ({**IN_A, "image_id": 5}, "c.json: 1 left out (annotation 1 belongs to no image)."),
        ({"image_id": [], "category_id": {}}, "1 left out (annotation 1 belongs to no image)."),
        ("x", "c.json: 1 left out (annotation 1 is no object)."),
    ],
)
def test_wrong_coco_boxes_are_noted(coco, annotation, note):
    good = {"image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2]}
    data = load_coco(coco([annotation, good]))
    assert len(data) == 1
    [found] = data.notes
    assert found.endswith(note)


def test_wrong_coco_files_are_errors(coco, tmp_path):
    with pytest.raises(DataError, match="holds no usable box"):
        load_coco(coco([]))
    with pytest.raises(DataError, match="is no COCO file"):
        load_coco(coco([], images={}))
    (tmp_path / "x.json").write_text("[")
    with pytest.raises(DataError, match="Cannot read the boxes"):
        load_coco(tmp_path / "x.json")
    with pytest.raises(DataError, match="There is no file of boxes"):
        load_coco(tmp_path / "missing.json")


SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(
    content=st.binary(max_size=80)
    | st.text(alphabet="<>/&;!ab objectname", max_size=60).map(str.encode)
)
def test_any_xml_gives_boxes_or_an_input_error(root, content):
    (root / "Annotations/f.xml").write_bytes(content)
    with pytest.raises(InputError):
        load_voc(root)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([1, 3, "a"]),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)
KEYS = ["id", "image_id", "category_id", "bbox", "file_name", "name", "width"]
PART = st.lists(st.dictionaries(st.sampled_from(KEYS), JSON) | JSON, max_size=4)


@SETTINGS
@given(images=PART, categories=PART, annotations=PART)
def test_any_coco_gives_boxes_or_an_input_error(coco, images, categories, annotations):
    path = coco(annotations, images=images, categories=categories)
    try:
        data = load_coco(path)
    except InputError:
        return
    assert isinstance(data, Dataset)


def coco_file(boxes: list[dict], path: Path, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    """One picture of 20 x 10 pixels, ``1.png``, and boxes on it."""
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "1.png", "width": 20, "height": 10}],
                "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
                "annotations": [{"image_id": 1, **box} for box in boxes],
            }
        )
    )
    return path


def test_load_dataset_takes_the_boxes_of_a_folder(tmp_path, root):
    where = coco_file([{"category_id": 1, "bbox": [3, 2, 3, 3]}], tmp_path / "boxes.json")
    crop = Crop(image=str(root / "1.png"), box=(3, 2, 6, 5))
    data = load_dataset(root, boxes=where)
    assert (data.images, data.y.tolist(), data.labels) == ([crop], ["dog"], ("cat", "dog"))
    labels = tmp_path / "labels.json"
    labels.write_text('{"puppy": {"aliases": ["dog"]}, "cat": []}')
    assert load_dataset(root, boxes=where, labels_file=labels).y.tolist() == ["puppy"]
    (root / "Annotations/1.xml").write_text(voc(thing("cat", 4, 3, 6, 5), size=SIZE))
    for source in (root, root / "JPEGImages"):
        for where in (root, root / "Annotations"):
            data = load_dataset(source, boxes=where)
            assert data.images == [Crop(image=str(root / "JPEGImages" / "1.jpg"), box=(3, 2, 6, 5))]


def test_voc_lists_count_too_where_the_boxes_are_given_by_their_own_folder(root):
    (root / "ImageSets/Main").mkdir(parents=True)
    (root / "ImageSets/Main/test.txt").write_text("1\n")
    (root / "Annotations/1.xml").write_text(voc(thing("a", 1, 1, 2, 2)))
    assert load_dataset(root / "JPEGImages", boxes=root / "Annotations").splits == ["test"]


@pytest.mark.parametrize(
    ("source", "boxes", "options", "message"),
    [
        (".", "no.json", {}, "'no.json' does not exist: give a COCO file"),
        (".", "t.csv", {}, "'t.csv' holds no boxes: give a COCO file"),
        ("t.csv", "boxes.json", {}, "pictures of a folder, but 't.csv' is none"),
        (["a.jpg"], "boxes.json", {}, "on the images of a folder, not on a list"),
        (".", "boxes.json", {"label_column": "x"}, "boxes have no columns"),
    ],
)
def test_what_can_hold_no_boxes_is_refused(tmp_path, monkeypatch, source, boxes, options, message):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("image\n")
    coco_file([{"category_id": 1, "bbox": [3, 2, 3, 3]}], Path("boxes.json"))
    with pytest.raises(InputError, match=message):
        load_dataset(source, boxes=boxes, **options)


def test_boxes_without_labels_are_kept_where_labels_do_not_matter(tmp_path, root):
    annotations = [{"bbox": [3, 2, 3, 3]}, {"category_id": 0, "bbox": [0, 0, 2, 2]}]
    where = coco_file(annotations, tmp_path / "boxes.json")
    assert len(load_boxes(where, root)) == 1
    data = load_boxes(where, root, with_labels=False)
    assert (len(data), data.labels, data.codes, data.notes) == (2, (), None, ())
    (root / "Annotations/1.xml").write_text(voc(thing("", 4, 3, 6, 5), size=SIZE))
    assert len(load_boxes(root, with_labels=False)) == 1
