"""Ridge regression in float64 NumPy, written as plain least squares, for the tests to compare with."""

import numpy as np


def targets(labels, num_classes):
    """+1 for the own class, -1 for the others (Appendix A of the paper)."""
    return np.where(labels[:, None] == np.arange(num_classes), 1.0, -1.0)


def ridge(x, labels, num_classes, alpha):
    """Weights and intercept by least squares: sqrt(alpha) times each weight is one more residual, to be 0."""
    x = np.asarray(x, dtype=np.float64)
    n, d = x.shape
    design = np.block([[x, np.ones((n, 1))], [np.sqrt(alpha) * np.eye(d), np.zeros((d, 1))]])
    wanted = np.concatenate([targets(labels, num_classes), np.zeros((d, num_classes))])
    solution = np.linalg.lstsq(design, wanted, rcond=None)[0]
    return solution[:-1], solution[-1]


def leave_one_out_outputs(x, labels, num_classes, alpha):
    """Outputs for each image under the regression of all the others, one regression for each."""
    outputs = []
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        weights, intercept = ridge(x[others], labels[others], num_classes, alpha)
        outputs.append(x[i] @ weights + intercept)
    return np.array(outputs)


def agreement(outputs, labels):
    """Mean cosine of the angle between outputs and targets, both less their mean over classes."""
    cosines = []
    for p, y in zip(outputs, targets(labels, outputs.shape[1]), strict=True):
        p, y = p - p.mean(), y - y.mean()
        cosines.append(p @ y / np.sqrt((p @ p) * (y @ y)))
    return np.mean(cosines)


def squared_error(outputs, labels):
    return ((outputs - targets(labels, outputs.shape[1])) ** 2).sum(axis=1).mean()


def best_strength(scores):
    """Of (agreement, error) by strength, that of the largest agreement; of equal ones the least error."""
    largest = max(agreement for agreement, _ in scores.values())
    best = {alpha: error for alpha, (agreement, error) in scores.items() if agreement > largest - 1e-9}
    return min(best, key=best.get)


def leave_one_out_strength(x, labels, num_classes, alphas):
    scores = {}
    for alpha in alphas:
        outputs = leave_one_out_outputs(x, labels, num_classes, alpha)
        scores[alpha] = agreement(outputs, labels), squared_error(outputs, labels)
    return best_strength(scores)


def held_out_strength(x, labels, x_held_out, labels_held_out, num_classes, alphas):
    scores = {}
    for alpha in alphas:
        weights, intercept = ridge(x, labels, num_classes, alpha)
        outputs = np.asarray(x_held_out, dtype=np.float64) @ weights + intercept
        scores[alpha] = agreement(outputs, labels_held_out), squared_error(outputs, labels_held_out)
    return best_strength(scores)


def predict(x, weights, intercept):
    return (np.asarray(x, dtype=np.float64) @ weights + intercept).argmax(axis=-1)


def flattened_patches(feature_map, side, grid):
    """Patches [c * side * side] of a map [c, h, w], averaged over the cells of a grid that divides them."""
    c, h, w = feature_map.shape
    rows, columns = h // side, w // side
    patches = np.empty((rows, columns, c * side * side))
    for i in range(rows):
        for j in range(columns):
            patches[i, j] = feature_map[:, i * side : (i + 1) * side, j * side : (j + 1) * side].ravel()
    (height, width), pooled = (rows // grid[0], columns // grid[1]), []
    for i in range(grid[0]):
        for j in range(grid[1]):
            cell = patches[i * height : (i + 1) * height, j * width : (j + 1) * width]
            pooled.append(cell.reshape(-1, patches.shape[-1]).mean(axis=0))
    return np.array(pooled)
