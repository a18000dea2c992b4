"""Names of an evaluation's numbers for people, in every table and text."""

MEASURES = {
    "mean_abs_error": "mean absolute error",
    "median_abs_error": "median absolute error",
    "p99_abs_error": "99th percentile of the absolute error",
    "mean_difference": "mean difference, network less reference",
    "abs_mean_difference": "absolute mean difference",
    "mean_mass_error": "mean deviation of the total probability from one",
    "max_mass_error": "largest deviation of the total probability from one",
    "distance_ratio": "distance from simulations, over that between two simulations",
    "max_corner_mass": "largest total probability at a corner of the bounds",
    "max_corner_early_mass": "largest probability before time zero at a corner of the bounds",
    "negative_rt_mass": "probability before time zero",
    "corner_not_finite": "values that are not finite at corners of the bounds",
    "calibration_error": "calibration error",
    "noise_mean_abs": "sampling noise of the mean absolute error",
    "noise_p99_abs": "sampling noise of the 99th percentile",
    "onnx_jax": "difference of ONNX from JAX",
    "onnx_torch": "difference of ONNX from Torch",
    "jax_torch": "difference of JAX from Torch",
    "above_one": "highest probability, less one",
    "sum_error": "deviation of the sum over all choices from one",
}
# The four numbers of an evaluation's scores.
SCORE_KEYS = ("mean_abs_error", "median_abs_error", "p99_abs_error", "mean_difference")


def measure_name(key: str) -> str:
    """The name of a number for people."""
    return MEASURES.get(key, key.replace("_", " "))
