"""Figures on a page: which there are, and how to read each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from lanflow.core.templates import Verdict
from lanflow.evaluation.recovery.record import (
    LikelihoodRecovery,
    PosteriorRecovery,
    rank_correlations,
)
from lanflow.networks import folder as network_folder
from lanflow.report.content import NetworkResults
from lanflow.report.html import Figure, render
from lanflow.report.verdict import group_networks, network_verdict

AUDIT_CAPTION = (
    "Above, parameter sets along each parameter: bars should end near the line, where uniform "
    "draws would, and 95 % of them between the dashes. Below, all rows by rt and choice; those "
    "before time zero have labels at the floor, the least label there is."
)
_LIKELIHOOD_CAPTIONS = {
    "density": "The network's density (lines) should lie on the simulated trials (filled) and, "
    "where it is known, on the model's own density (dashes): choice by choice, in the middle of "
    "the bounds and at draws within them. Above each panel, the network's probabilities of all "
    "rts and choices together, which should be one where no deadline cuts trials off.",
    "sweep": "Log-likelihood over rt as one parameter sweeps its range. Where the network's lines "
    "leave the model's dashes, the network is off there; lines are one nat apart, a factor of 2.7 "
    "in likelihood.",
    "error": "Where within the bounds the log-likelihood is off. On the diagonal along each "
    "parameter (bars are means, whiskers their 95 % interval), below it over pairs of parameters: "
    "look for edges and corners (white: no vector was drawn there). At the top right, the "
    "signed error against the log-likelihood of the trial, rare trials to the left: a band around "
    "zero is noise, a band beside it is bias.",
    "calibration": "Left, the probability of a choice: points should lie on the line. Middle, the "
    "network's total probability, which should be one. Right, where each trial's rt lies among "
    "those that the network expects: level (within the grey band) is right, a U means that the "
    "network's distributions are too narrow, a hump that they are too wide, and a slope that they "
    "are biased: rts come later than it says where the line rises, earlier where it falls.",
}
_PROBABILITY_CAPTIONS = {
    "density": "The network's probability at parameter vectors, beside the share of simulated "
    "trials and, where it is known, the model's own probability: the marks of a line should lie "
    "together.",
    "sweep": "The probability as one parameter sweeps its range; dashes or points are the "
    "model's, and the network's line should lie on them.",
    "error": "Where within the bounds the probability is off. On the diagonal along each "
    "parameter (bars are means, whiskers their 95 % interval), below it over pairs of parameters; "
    "at the top right, the signed error against the probability.",
    "calibration": "Left, the network's probabilities against the model's: points should lie on "
    "the line. Right, their mean difference by the network's probability, with the range of 95 % "
    "of the parameter vectors: above zero, the network says it too often.",
}
_CURVE_CAPTION = (
    "Loss of training and validation data, and the learning rate; the star marks the epoch whose "
    "weights are in the network. Validation that rises while training falls is overfitting."
)


@dataclass(frozen=True)
class Pictures:
    """Pictures of a page.

    Attributes
    ----------
    page
        The file of the page.
    are_inside
        Whether pictures are part of it; else they stay in their files.
    """

    page: Path
    are_inside: bool

    def figure(self, path: Path, *, alt: str, caption: str) -> Figure:
        """Make a picture with its caption."""
        if self.are_inside:
            return Figure.inside(path.read_bytes(), alt=alt, caption=caption)
        return Figure.beside(path, self.page, alt=alt, caption=caption)


@dataclass(frozen=True)
class _Shown:
    """The figures of one network."""

    name: str
    backend: str
    verdict: Verdict
    figures: Sequence[Figure]


def figures_section(networks: Sequence[NetworkResults], pictures: Pictures) -> Markup:
    """Show every figure of the networks; those that agree with another backend's are folded up."""
    groups = [
        [
            _Shown(one.name, one.backend, network_verdict(one), list(_figures(one, pictures)))
            for one in group.networks
        ]
        for group in group_networks(networks)
    ]
    return render("figures.html", groups=groups)


def _figures(results: NetworkResults, pictures: Pictures) -> Iterator[Figure]:
    """Yield the figures of a network, its recovery and its training, as far as they were drawn."""
    has_trial = results.network.network_type.has_trial
    plots = _LIKELIHOOD_CAPTIONS if has_trial else _PROBABILITY_CAPTIONS
    captions = {network_folder.PLOTS[plot]: caption for plot, caption in plots.items()}
    if results.recovery is not None:
        captions[network_folder.RECOVERY_PLOT] = recovery_caption(results.recovery)
    captions[network_folder.CURVE] = _CURVE_CAPTION
    for name, caption in captions.items():
        if path := results.figure_path(name):
            what = name.removesuffix(".png").removeprefix("plot_").replace("_", " ")
            yield pictures.figure(path, alt=f"{results.name}: {what}", caption=caption)


def recovery_caption(record: LikelihoodRecovery | PosteriorRecovery) -> str:
    """Describe the figure of parameters found again, with their rank correlations."""
    return (
        f"Parameters of {record.n_subjects:,} simulated subjects of {record.n_trials:,} "
        f"trials each, found again by {record.method} through the network: points should lie on "
        f"the line. Rank correlation of true and found values: {rank_correlations(record)}. "
        f"{_recovery_note(record)}"
    )


def _recovery_note(record: LikelihoodRecovery | PosteriorRecovery) -> str:
    if isinstance(record, LikelihoodRecovery):
        return "Diamonds are maxima at a trained bound."
    note = (
        "Under each, how the true values rank among draws of their posteriors, whose prior is "
        "uniform within the trained bounds: evenly, within the grey band, if the network is "
        "right; a U means posteriors that are too narrow, a hump too wide ones, a slope bias."
    )
    n = record.n_not_converged
    return note if n == 0 else f"{note} The chains of {n} subject(s) did not converge."
