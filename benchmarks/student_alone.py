"""Label photos with nothing but onnxruntime and Pillow; JSON lines to standard output.

    python benchmarks/student_alone.py student.onnx PHOTO ...

This is what a user of the file writes; it imports nothing of showtell.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
for path in sys.argv[2:]:
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    label, confidence, probabilities = session.run(None, {"image": np.asarray(picture)})
    print(json.dumps({"label": int(label[0]), "probabilities": probabilities[0].tolist()}))
assert not any(name.partition(".")[0] == "showtell" for name in sys.modules)
