"""How sure is it, how sure may it be, and when should it rather say nothing?

    python examples/06_calibrate_and_abstain.py

Handwritten digits, ten examples per label: confidences before and after calibration, a threshold
chosen for 95 % right answers, and sets that hold the right label nine times in ten.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

import showtell as st
from showtell.metrics import fit_conformal

WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def main() -> None:
    raw = load_digits()
    images = [(255 - 15 * image).astype(np.uint8) for image in raw.images[:700]]
    y = WORDS[raw.target[:700]]
    learn, choose, ask = slice(0, 200), slice(200, 450), slice(450, 700)

    for calibrate in (False, True):
        clf = st.FewShotClassifier("mini", shots=10, method="prototype", calibrate=calibrate)
        clf.fit(images[learn], y[learn])
        m = st.evaluate(clf, images[ask], y[ask]).metrics
        print(
            f"calibrate={calibrate!s:5}  accuracy {m['accuracy']:.2f}  confidences off by "
            f"{m['ece']:.2f} (chance: {m['ece_noise_floor']:.2f})"
        )

    # The lowest threshold at which answers were 95 % right, on images not asked about below.
    curve = st.evaluate(clf, images[choose], y[choose]).risk_coverage
    good = curve.risk <= 0.05
    threshold = float(curve.threshold[good].min()) if good.any() else 1.0
    clf.set_params(abstain_below=threshold)
    m = st.evaluate(clf, images[ask], y[ask]).metrics
    print(
        f"below {threshold:.2f} it abstains: answers {m['coverage']:.0%} of the images, "
        f"{m['accuracy_answered']:.0%} of them right"
    )

    names = clf.classes_.tolist()
    codes = np.array([names.index(label) for label in y])
    rule = fit_conformal(clf.predict_proba(images[choose]), codes[choose], alpha=0.1)
    sets = rule.predict(clf.predict_proba(images[ask]))
    held = sets.members[np.arange(len(codes[ask])), codes[ask]].mean()
    print(f"sets hold the right label in {held:.0%}, with {sets.size.mean():.1f} labels on average")


if __name__ == "__main__":
    main()
