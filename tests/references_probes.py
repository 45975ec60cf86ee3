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


def leave_one_out_error(x, labels, num_classes, alpha):
    """Sum of squared residuals of each image under the regression of all the others, one regression for each."""
    total = 0.0
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        weights, intercept = ridge(x[others], labels[others], num_classes, alpha)
        residual = targets(labels[i : i + 1], num_classes) - x[i] @ weights - intercept
        total += (residual**2).sum()
    return total


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
