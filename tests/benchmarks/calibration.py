"""How good the probabilities of the classifier are on scikit-learn's tables, calibrated and as they come: five-fold
cross-validation, repeated; means over all samples that are held out.

python tests/benchmarks/calibration.py [--repeats 3] [NAME ...]
"""

import argparse
from time import process_time

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepnet import MessagePassingClassifier
from deepnet.scores import class_scores

DATA = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer, "digits": load_digits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(DATA), metavar="NAME", help=", ".join(DATA))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"{'data':<8} {'calibrated':<10} {'error (%)':>9} {'log loss':>9} {'ECE':>7} {'seconds a fit':>14}")
    for name in args.names:
        X, y = DATA[name](return_X_y=True)
        for calibrate in (False, True):
            found, start = [], process_time()
            for seed in range(args.repeats):
                for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y):
                    scaler = () if name == "digits" else (StandardScaler(),)
                    model = make_pipeline(*scaler, MessagePassingClassifier(calibrate=calibrate, random_state=seed))
                    found.append((model.fit(X[train], y[train]).predict_proba(X[test]), y[test]))
            seconds = (process_time() - start) / len(found)
            p, numbers = map(np.concatenate, zip(*found, strict=True))
            scores, error = class_scores(p, numbers), 100.0 * np.mean(p.argmax(axis=1) != numbers)
            print(
                f"{name:<8} {'yes' if calibrate else 'no':<10} {error:9.2f} {scores['log_loss']:9.4f} "
                f"{scores['calibration_error']:7.4f} {seconds:14.2f}"
            )


if __name__ == "__main__":
    main()
