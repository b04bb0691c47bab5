"""Saved classifiers: what comes back, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from showtell.classify import FewShotClassifier, ZeroShotClassifier, load_classifier
from showtell.classify import saved as saved_module
from showtell.encoders import registry
from showtell.errors import InputError, SavedFolderError
from showtell.records.saved import digest_of as _digest
from showtell.testing import WordEncoder

X, Y = ["cat", "dog", "cat tail", "dog grass"], ["cat", "dog", "cat", "dog"]


@pytest.fixture
def clf(encoder):
    return FewShotClassifier(encoder, labels={"cat": ("a pet", "whiskers"), "dog": None}).fit(X, Y)


@pytest.fixture
def folder(clf, tmp_path):
    return clf.save(tmp_path / "saved")


def rewrite(folder, **changes):
    """Change entries of the JSON and sign it anew, as somebody with intent would."""
    path = folder / "classifier.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for dotted, value in changes.items():
        place = record
        *outer, last = dotted.split("__")
        for key in outer:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    record["sha256"] = _digest(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def rewrite_arrays(folder, blob):
    """Put other bytes in the place of the arrays, with the right hash."""
    (folder / "arrays.npz").write_bytes(blob)
    rewrite(
        folder,
        files={"arrays.npz": {"sha256": hashlib.sha256(blob).hexdigest(), "n_bytes": len(blob)}},
    )


def packed(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def arrays_of(folder):
    with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_folder_holds_two_files_and_nothing_pickled(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["arrays.npz", "classifier.json"]
    with zipfile.ZipFile(folder / "arrays.npz") as archive:
        for name in archive.namelist():
            assert b"pickle" not in archive.read(name)
    record = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    assert record["class"] == "FewShotClassifier"
    assert record["classes"] == ["cat", "dog"]
    assert record["encoder"]["by_name"] is False


def test_parameters_come_back_with_their_types(folder, clf):
    again = load_classifier(folder, encoder=clf.encoder)
    assert again.labels == {"cat": ("a pet", "whiskers"), "dog": None}
    assert isinstance(again.labels["cat"], tuple)
    codes = FewShotClassifier(clf.encoder, aliases={0: ["cat"], 1: ["dog"]}).fit(X, [0, 1, 0, 1])
    numbers = load_classifier(codes.save(folder), encoder=clf.encoder)
    assert numbers.aliases == {0: ["cat"], 1: ["dog"]}
    assert numbers.predict(["cat"]).tolist() == [0]


def test_a_saved_folder_may_be_replaced_but_nothing_else(folder, clf, tmp_path):
    ZeroShotClassifier(clf.encoder, labels=["fox"]).fit().save(folder)
    assert load_classifier(folder, encoder=clf.encoder).classes_.tolist() == ["fox"]
    (tmp_path / "empty").mkdir()
    clf.save(tmp_path / "empty")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="is no saved classifier"):
        clf.save(tmp_path / "photos")
    with pytest.raises(InputError, match="is no saved classifier"):
        clf.save(tmp_path / "photos" / "a.jpg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "photos", "saved"]


def test_an_encoder_by_name_is_loaded_by_name(monkeypatch, tmp_path):
    encoder = WordEncoder(["cat", "dog"])
    monkeypatch.setitem(registry._loaded, ("mini", "auto", None), encoder)
    clf = ZeroShotClassifier("mini", labels=["cat", "dog"]).fit()
    again = load_classifier(clf.save(tmp_path / "c"))
    assert again.encoder == "mini"
    np.testing.assert_array_equal(again.predict_proba(["dog"]), clf.predict_proba(["dog"]))
    monkeypatch.setitem(registry._loaded, ("mini", "auto", None), WordEncoder(["other"]))
    with pytest.raises(SavedFolderError, match=r"fingerprint .* fit again"):
        load_classifier(tmp_path / "c")


def test_an_encoder_object_must_be_handed_over_and_be_the_same(folder):
    with pytest.raises(SavedFolderError, match=r"load_classifier\(path, encoder=\.\.\.\)"):
        load_classifier(folder)
    with pytest.raises(SavedFolderError, match="Their embeddings differ"):
        load_classifier(folder, encoder=WordEncoder(["other"]))


def test_what_cannot_be_saved_says_so(encoder, tmp_path):
    with pytest.raises(NotFittedError):
        FewShotClassifier(encoder).save(tmp_path / "c")

    class Mine(ZeroShotClassifier):
        pass

    with pytest.raises(InputError, match="Cannot save a Mine"):
        Mine(encoder, labels=["cat"]).fit().save(tmp_path / "c")
    clf = ZeroShotClassifier(encoder, labels=["cat"]).fit().set_params(random_state=object())
    with pytest.raises(InputError, match="`random_state` holds a object"):
        clf.save(tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_a_store_on_this_machine_stays_on_this_machine(encoder, tmp_path):
    clf = ZeroShotClassifier(encoder, labels=["cat"], store=str(tmp_path / "secret.sqlite")).fit()
    saved = clf.save(tmp_path / "c")
    assert "secret" not in (saved / "classifier.json").read_text(encoding="utf-8")
    assert load_classifier(saved, encoder=encoder).store == "default"


# ---------------------------------------------------------------- damage and intent


def test_every_flipped_byte_and_every_cut_is_noticed(folder, clf):
    for name in ("classifier.json", "arrays.npz"):
        whole = (folder / name).read_bytes()
        for cut in (0, 1, len(whole) // 2, len(whole) - 1):
            (folder / name).write_bytes(whole[:cut])
            with pytest.raises(SavedFolderError):
                load_classifier(folder, encoder=clf.encoder)
        for at in range(0, len(whole), max(1, len(whole) // 60)):
            changed = bytearray(whole)
            changed[at] ^= 0x21
            (folder / name).write_bytes(changed)
            try:
                again = load_classifier(folder, encoder=clf.encoder)
            except SavedFolderError:
                continue
            # only white space of the JSON may change without changing what it says
            assert name == "classifier.json"
            assert json.loads(changed) == json.loads(whole)
            assert again.get_params() == clf.get_params()
        (folder / name).write_bytes(whole + b" " if name == "arrays.npz" else whole)
        if name == "arrays.npz":
            with pytest.raises(SavedFolderError, match="damaged or was changed"):
                load_classifier(folder, encoder=clf.encoder)
        (folder / name).write_bytes(whole)
    load_classifier(folder, encoder=clf.encoder)


@pytest.mark.parametrize("name", ["classifier.json", "arrays.npz"])
def test_a_missing_file_is_named(folder, clf, name):
    (folder / name).unlink()
    with pytest.raises(SavedFolderError, match=name):
        load_classifier(folder, encoder=clf.encoder)


def test_what_is_no_saved_folder_is_refused(tmp_path, encoder):
    with pytest.raises(SavedFolderError, match="no folder"):
        load_classifier(tmp_path / "nowhere", encoder=encoder)
    with pytest.raises(SavedFolderError, match=r"has no classifier\.json"):
        load_classifier(tmp_path, encoder=encoder)
    for text in ("[]", "{}", '{"format": "else"}', "not json", "[" * 100_000):
        (tmp_path / "classifier.json").write_text(text, encoding="utf-8")
        with pytest.raises(SavedFolderError):
            load_classifier(tmp_path, encoder=encoder)


def test_an_edited_file_is_refused(folder, clf):
    path = folder / "classifier.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"cat"', '"cow"'), encoding="utf-8")
    with pytest.raises(SavedFolderError, match="was changed after it was written"):
        load_classifier(folder, encoder=clf.encoder)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format_version": 2}, "format version 2.*Update showtell"),
        ({"format_version": "1"}, "format version '1'"),
        ({"class": "ForestClassifier"}, "'ForestClassifier'.*does not know"),
        ({"class": "os.system"}, "does not know"),
        ({"params__surprise": 1}, "no parameter surprise"),
        ({"params__labels": {"code": "x"}}, "nothing here writes"),
        ({"params": [1]}, "cannot be used"),
        ({"classes": ["cat", "cat"]}, "different labels"),
        ({"classes": []}, "different labels"),
        ({"classes": ["cat", "dog", "fox"]}, "has shape"),
        ({"classes": [1, 2]}, "not all of type str"),
        ({"classes_type": "object"}, "lacks 'object'"),
        ({"values__method": "magic"}, "magic"),
        ({"values__method": "linear", "values__has_text": False}, "holds"),
        ({"values__temperature": "hot"}, "hot"),
        ({"values": None}, "lacks 'values'"),
        ({"files": {}}, "the only one allowed"),
        ({"files": {"../../etc/passwd": {}}}, "'../../etc/passwd'; the only one allowed"),
        ({"files__arrays.npz__n_bytes": 1}, "size or sha256"),
        ({"encoder": None}, "lacks 'encoder'"),
    ],
)
def test_a_forged_description_is_refused(folder, clf, changes, complaint):
    rewrite(folder, **changes)
    with pytest.raises(SavedFolderError, match=complaint):
        load_classifier(folder, encoder=clf.encoder)


def test_nothing_is_unpickled(folder, clf):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle ran",))

    arrays = arrays_of(folder)
    arrays["bias"] = np.array([Trap(), Trap()], dtype=object)
    rewrite_arrays(folder, packed(**arrays))
    with pytest.raises(SavedFolderError, match="damaged"):
        load_classifier(folder, encoder=clf.encoder)
    rewrite_arrays(folder, pickle.dumps([1, 2]))
    with pytest.raises(SavedFolderError, match="damaged"):
        load_classifier(folder, encoder=clf.encoder)


@pytest.mark.parametrize(
    ("name", "array", "complaint"),
    [
        ("weights", np.zeros((2, 3), np.float32), r"shape \(2, 3\)"),
        ("weights", np.zeros((2, 9), np.float64), "type float64"),
        ("bias", np.full(2, np.nan, np.float32), "NaN"),
        ("support", np.zeros((2, 2), np.int64), r"expected \(any\)"),
        ("extra", np.zeros(2, np.float32), "expected bias"),
    ],
)
def test_forged_arrays_are_refused(folder, clf, name, array, complaint):
    rewrite_arrays(folder, packed(**{**arrays_of(folder), name: array}))
    with pytest.raises(SavedFolderError, match=complaint):
        load_classifier(folder, encoder=clf.encoder)


def test_a_cache_of_unknown_classes_is_refused(encoder, tmp_path):
    clf = FewShotClassifier(encoder, method="tip-adapter").fit(X, Y)
    saved = clf.save(tmp_path / "c")
    arrays = arrays_of(saved)
    for codes in (arrays["key_codes"] + 7, arrays["key_codes"][:-1]):
        rewrite_arrays(saved, packed(**{**arrays, "key_codes": codes}))
        with pytest.raises(SavedFolderError, match="do not fit its keys"):
            load_classifier(saved, encoder=encoder)


def test_a_zip_bomb_is_not_unpacked(folder, clf):
    arrays = arrays_of(folder)
    out = io.BytesIO()
    np.savez_compressed(out, **{**arrays, "weights": np.zeros((4000, 4000), np.float32)})
    rewrite_arrays(folder, out.getvalue())
    with pytest.raises(SavedFolderError, match="compressed"):
        load_classifier(folder, encoder=clf.encoder)


def test_a_link_out_of_the_folder_shows_nothing_of_its_target(folder, clf, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2", encoding="utf-8")
    (folder / "arrays.npz").unlink()
    (folder / "arrays.npz").symlink_to(secret)
    with pytest.raises(SavedFolderError) as caught:
        load_classifier(folder, encoder=clf.encoder)
    assert "hunter2" not in str(caught.value)


def test_an_interrupted_save_leaves_the_old_one(folder, clf, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    monkeypatch.setattr(saved_module.Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        clf.save(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["saved"]
