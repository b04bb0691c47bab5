"""The file of a student in Chromium, as the page of examples/student.html runs it."""

import functools
import http.server
import shutil
import threading

import numpy as np
import pytest
from PIL import Image, ImageOps

from showtell.classify import DistilledClassifier, export_student
from showtell.datasets import load_dataset

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


class Site(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *what):
        pass


@pytest.fixture(scope="module")
def site(repository, tmp_path_factory):
    """Beside the example page: a student of the sample photos, and onnxruntime-web."""
    runtime = repository / "node_modules" / "onnxruntime-web"
    if not runtime.is_dir():
        pytest.skip("onnxruntime-web is not installed (npm install --no-save onnxruntime-web)")
    folder = tmp_path_factory.mktemp("site")
    photos = load_dataset(repository / "examples" / "photos")
    student = DistilledClassifier(store=None).fit(photos.images, photos.y)
    export_student(student, folder / "student.onnx")
    shutil.copy(repository / "examples" / "student.html", folder)
    (folder / "node_modules").symlink_to(repository / "node_modules")
    (folder / "photos").mkdir()
    for number, path in enumerate(photos.images):
        shutil.copy(path, folder / "photos" / f"{number}.jpg")
    wide = ImageOps.exif_transpose(Image.open(photos.images[0])).convert("RGB")
    for width, height in [(1, 1), (90, 60), (60, 90), (700, 200), (4000, 3000)]:
        wide.resize((width, height)).save(folder / "photos" / f"{width}x{height}.png")
    return folder


@pytest.fixture(scope="module")
def page(site):
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Site, directory=str(site))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        tab = browser.new_page()
        tab.goto(f"http://127.0.0.1:{server.server_port}/student.html")
        tab.wait_for_function("window.classify !== undefined")
        yield tab
        browser.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_browser_gives_the_labels_and_chances_that_python_gives(site, page):
    session = onnxruntime.InferenceSession(site / "student.onnx")
    paths = sorted((site / "photos").iterdir())
    for path in paths:
        picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        label, _, proba = session.run(None, {"image": np.asarray(picture)})
        found = page.evaluate(
            "async (url) => classify(await (await fetch(url)).blob())", f"photos/{path.name}"
        )
        assert found["label"] == label[0], path.name
        np.testing.assert_allclose(found["probabilities"], proba[0], atol=1e-3, err_msg=path.name)
    assert len(paths) > 20


def test_a_chosen_file_gets_a_label_on_the_page(site, page):
    page.set_input_files("input", site / "photos" / "0.jpg")
    page.wait_for_function("document.querySelector('output').value !== ''")
    assert page.inner_text("output").split()[-1].startswith(("0.", "1."))
