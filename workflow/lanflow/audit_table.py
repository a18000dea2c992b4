"""An audit as a table for a person."""

from collections.abc import Mapping
from typing import Any


def describe_audit(audit: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The audit as a table for people: what, value."""
    sets, coverage = audit["sets"], audit["coverage"]
    table = [
        (
            "distinct parameter sets",
            f"{sets['distinct']:,} of {sets['claimed']:,} claimed "
            f"({sets['repeated_share']:.1%} repeats)",
        )
    ]
    table += [
        (f"{name} rows per file", f"{rows['min_per_file']:,} to {rows['max_per_file']:,}")
        for name, rows in audit["rows"].items()
    ]
    for name, parameter in coverage["parameters"].items():
        distance, limit = parameter["distance_from_uniform"], coverage["uniform_below"]
        verdict = "as uniform draws" if distance < limit else "not as uniform draws"
        table.append(
            (
                f"coverage of {name}",
                f"{verdict} (distance {distance:.3f}, uniform below {limit:.3f}), "
                f"{parameter['n_outside']:,} outside of the bounds",
            )
        )
    if corners := coverage["corners"]:
        table.append(
            (
                "emptiest corner",
                f"{corners['emptiest']}: {corners['emptiest_sets']:,} sets, "
                f"{corners['expected_sets']:.1f} expected",
            )
        )
    if trials := audit["trials"]:
        labels = audit["labels"]
        choices = [f"{value}: {n:.1%}" for value, n in trials["choice_shares"].items()]
        table += [
            ("labels", f"{labels['min']:.4g} to {labels['max']:.4g}, mean {labels['mean']:.4g}"),
            (f"labels at the floor ({labels['floor']:.2f})", f"{labels['floor_share']:.1%}"),
            ("rt", f"{trials['rt_min']:.4g} to {trials['rt_max']:.4g} s"),
            ("negative rt", f"{trials['negative_rt_share']:.1%}"),
            ("choices after time zero", ", ".join(choices)),
        ]
    if error := audit["label_error"]:
        table.append(
            (
                "labels less the exact log-likelihood, where that is above log(1e-7)",
                f"mean absolute {error['mean_absolute']:.2g}, median {error['median_absolute']:.2g}"
                f", 99th percentile {error['percentile_99']:.2g}, mean difference "
                f"{error['mean_difference']:+.2g} ({error['n_rows']:,} rows)",
            )
        )
    return [*table, ("values that are not finite", f"{audit['n_not_finite']:,}")]
