import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

from lanflow.core.errors import UserError
from lanflow.core.files import write_bytes, write_json, write_text
from lanflow.data.audit.measure import audit_data_set
from lanflow.data.prepare import PackedData
from lanflow.evaluation.record import parse_evaluation
from lanflow.networks import folder as network_folder
from lanflow.networks.card import RunFile
from lanflow.networks.folder import read_history
from lanflow.networks.network import Network
from lanflow.report.content import NetworkResults, ReportedData, read_data, read_network
from lanflow.report.figures.records import draw_audit
from lanflow.report.html import MOST_ON_ONE_PAGE, PAGES
from lanflow.report.leaderboard import Row, build_leaderboard
from lanflow.report.page import Study, render_report, write_report
from lanflow.report.sections import lineage_section
from lanflow.report.verdict import verdict_section
from lanflow.training.run import train
from tests.conftest import training_options
from tests.unit.report.figures import test_records_recovery_plots as recovery_plots
from tests.unit.report.test_html import Tables

PASSED = {"verdict": "passed", "reason": "", "is_essential": True, "numbers": {}, "limits": {}}


def evaluation(verdict: str = "failed", **keys: Any) -> dict[str, Any]:
    """The content of an evaluation.json."""
    density = PASSED | {"name": "density"}
    if verdict == "failed":
        density |= {
            "verdict": "failed",
            "reason": "distance_ratio is 5, above 1.25",
            "numbers": {"distance_ratio": 5.0, "mean_mass_error": 0.01},
            "limits": {"distance_ratio": 1.25, "mean_mass_error": 0.02},
        }
    hssm = PASSED | {"name": "hssm", "verdict": "skipped", "reason": "HSSM is not here"}
    hssm |= {"is_essential": False}
    return {
        "evaluation_version": 2,
        "model": "ddm",
        "network_type": "lan",
        "backend": "torch",
        "data_digest": "d" * 64,
        "onnx_sha256": "0" * 64,
        "verdict": verdict,
        "gates": [PASSED | {"name": "structure"}, density, hssm],
        "scores": None,
        "reference": {"source": "analytic", "description": "the exact likelihood"},
        "settings": {"n_sets": 5, "rows": 5, "n_simulated_sets": 5},
        "seed": 1,
        "versions": {},
        **keys,
    }


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, packed: PackedData) -> Path:
    """Results of a study of one network, trained for a moment, without an evaluation."""
    results = tmp_path_factory.mktemp("results")
    train(training_options(results, packed, keys={"N_EPOCHS": 1}, network_name="net_torch"))
    folder = results / "networks" / "lan" / "ddm" / "net_torch"
    curve = (folder / network_folder.CURVE).read_bytes()
    for name in network_folder.PLOTS.values():
        write_bytes(folder / name, curve)
    data = results / "ddm"
    write_json(data / "manifest.json", packed.manifest.model_dump())
    (data / "data_set").mkdir()
    shutil.copy(packed.data_set.folder / "data_set.json", data / "data_set")
    audit = audit_data_set(packed.data_set, packed.manifest).model_dump()
    write_json(data / "audit.json", {**audit, "warnings": ["half of the <sets> are repeats"]})
    write_bytes(data / "audit.png", draw_audit(audit).png())
    return results


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """The same, for a test to change."""
    return Path(shutil.copytree(made, tmp_path / "results"))


def report(
    results: Path, *, n_networks: int = 1, earlier: Sequence[Row] = ()
) -> tuple[str, str, Tables]:
    """The verdict, the page, and its tables."""
    first = results / "networks" / "lan" / "ddm" / "net_torch"
    folders = [first, *(first.with_name(f"net{i}_torch") for i in range(1, n_networks))]
    for folder in folders[1:]:
        shutil.copytree(first, folder)
    networks = [Network.from_folder(folder) for folder in folders]
    histories = [read_history(folder / network_folder.HISTORY) for folder in folders]
    found = [parse_evaluation(evaluation(), "evaluation.json")] * len(folders)
    rows = build_leaderboard(networks, found, histories, earlier)
    table = pd.DataFrame([row.model_dump() for row in rows])
    write_text(results / "leaderboard.csv", table.to_csv(index=False))
    verdict = write_report(
        {"study": "my-study", "seed": 1, "results": str(results)},
        report_path=results / "report.html",
        leaderboard_path=results / "leaderboard.csv",
        network_folders=folders,
        data_folders=[results / "ddm"],
    )
    html = (results / "report.html").read_text()
    return verdict, html, Tables(html)


def write_evaluation(results: Path, **keys: Any) -> None:
    folder = results / "networks" / "lan" / "ddm" / "net_torch"
    write_json(folder / network_folder.EVALUATION, evaluation(**keys))


def test_a_failed_network_is_told_at_the_top_with_the_gate_and_by_how_much(results: Path) -> None:
    write_evaluation(results)
    verdict, html, tables = report(results)
    assert verdict == "No network passed its gates (0 of 1)."
    assert tables.open == []
    top = html.index(verdict)
    assert top < html.index("distance from simulations") < html.index('id="figures"')
    (row,) = (row for row in tables.rows if row[0].startswith("density: "))
    assert row[1].startswith("distance from simulations")
    assert row[2:] == ["5", "1.25", "4"]
    assert "should not be used for inference" in html


def test_a_skipped_gate_is_shown_as_skipped_never_as_passed(results: Path) -> None:
    write_evaluation(results, verdict="passed")
    verdict, _, tables = report(results)
    assert verdict == "Every network passed its gates (1 of 1)."
    head = next(row for row in tables.rows if row[:3] == ["network", "trained in", "verdict"])
    row = dict(zip(head, tables.rows[tables.rows.index(head) + 1], strict=True))
    assert row["structure"].endswith("passed")
    assert row["hssm"].endswith("skipped")
    assert "Not checked: hssm, since HSSM is not here." in tables.text


def test_numbers_that_are_not_finite_and_gates_of_a_reason_alone_are_told(results: Path) -> None:
    gates = [
        PASSED | {"name": "structure", "verdict": "failed", "reason": "two <outputs>"},
        PASSED
        | {"name": "tails", "verdict": "failed", "numbers": {"new_number": None}}
        | {"limits": {"new_number": 0.5}},
    ]
    write_evaluation(results, gates=gates)
    _, _, tables = report(results)
    assert any("two <outputs>" in row for row in tables.rows)
    assert any(row[1:4] == ["new number", "not finite", "0.5"] for row in tables.rows)


def test_a_network_without_an_evaluation_has_not_passed(results: Path) -> None:
    verdict, html, _ = report(results)
    assert verdict == "No network passed its gates (0 of 1). 1 of them not evaluated."
    assert "ddm lan net_torch: It was not evaluated." in html


def test_the_page_holds_data_networks_figures_lineage_and_commands(results: Path) -> None:
    write_evaluation(results)
    _, html, tables = report(results)
    names = ("next", "figures", "networks", "data", "lineage", "rebuild")
    places = [html.index(f'<section id="{name}"') for name in names]
    assert places == sorted(places)
    assert "half of the <sets> are repeats" in tables.text
    folder = results / "networks" / "lan" / "ddm" / "net_torch"
    card = json.loads((folder / network_folder.CARD).read_text())
    sha256 = hashlib.sha256((folder / network_folder.ONNX).read_bytes()).hexdigest()
    manifest = json.loads((results / "ddm" / "manifest.json").read_text())
    cells = {cell for row in tables.rows for cell in row}
    assert {card["data_digest"], sha256, "not tracked"} <= cells
    assert {file["sha256"] for file in manifest["files"]} <= cells
    assert {"a folder, without lineage", "net", "torch"} <= cells
    assert ["1", "v", "-3", "3"] in tables.rows
    for command in (
        f"snakemake --configfile {results}/study.yaml",
        f"lanflow verify {results}/ddm/manifest.json",
        f"lanflow plot {folder}",
    ):
        assert command in html
    assert html.count("data:image/png;base64,") == 2 + len(network_folder.PLOTS)


def test_a_recovery_is_shown_with_its_rank_correlations_unless_of_an_earlier_network(
    results: Path,
) -> None:
    folder = results / "networks" / "lan" / "ddm" / "net_torch"
    sha256 = hashlib.sha256((folder / network_folder.ONNX).read_bytes()).hexdigest()
    own = {"onnx_sha256": sha256, "n_subjects": 50, "n_trials": 500}
    record = recovery_plots.record(2).model_dump(mode="json") | own
    record["summary"]["p0"]["spearman"] = 0.98765
    record["summary"]["p1"]["spearman"] = None
    write_json(folder / network_folder.RECOVERY, record)
    write_bytes(folder / network_folder.RECOVERY_PLOT, (folder / network_folder.CURVE).read_bytes())
    _, html, _ = report(results)
    assert html.count("data:image/png;base64,") == 3 + len(network_folder.PLOTS)
    assert "50 simulated subjects of 500 trials" in html
    assert "found again by maximum likelihood through the network" in html
    assert "p0 0.988 (the same value in all subjects of p1)" in html
    sampled = recovery_plots.sampled(2).model_dump(mode="json") | own | {"n_not_converged": 3}
    write_json(folder / network_folder.RECOVERY, sampled)
    _, html, _ = report(results)
    assert "found again by NUTS (HSSM 9.9) through the network" in html
    assert "The chains of 3 subject(s) did not converge." in html
    write_json(folder / network_folder.RECOVERY, record | {"onnx_sha256": "0" * 64})
    _, html, _ = report(results)
    assert html.count("data:image/png;base64,") == 2 + len(network_folder.PLOTS)
    assert "simulated subjects" not in html


def test_networks_of_earlier_runs_stand_on_the_leaderboard(results: Path) -> None:
    write_evaluation(results)
    row = Row(
        model="ddm",
        network_type="lan",
        network="lan_jax",
        backend="jax",
        origin="earlier run",
        data_digest="d",
        mean_abs_error=0.0123,
        best_val_loss=0.5,
        best_epoch=1,
        n_epochs=2,
        n_weights=3,
        seed=1,
        onnx="elsewhere/model.onnx",
    )
    _, _, tables = report(results, earlier=[row])
    head = next(found for found in tables.rows if "validation loss" in found)
    (shown,) = (
        dict(zip(head, found, strict=True)) for found in tables.rows if "earlier run" in found
    )
    assert (shown["mean |error|"], shown["gates"], shown["rows"]) == ("0.0123", "", "")
    assert shown["file"] == "elsewhere/model.onnx"


def is_here(address: str, results: Path) -> bool:
    """Whether an address is part of the page, or leads to a file of the study."""
    return address.startswith(("data:", "#")) or (results / unquote(address)).exists()


def test_nothing_on_the_page_is_fetched(results: Path) -> None:
    _, html, tables = report(results)
    assert tables.addresses
    assert all(is_here(address, results) for address in tables.addresses)
    assert "script" not in tables.seen
    assert "url(" not in html


def test_the_study_as_it_was_run_lies_beside_the_page(results: Path) -> None:
    report(results)
    settings = yaml.safe_load((results / "study.yaml").read_text())
    assert settings == {"study": "my-study", "seed": 1, "results": str(results)}


def test_of_many_networks_each_has_a_page_and_the_report_is_an_index(results: Path) -> None:
    write_evaluation(results)
    n = MOST_ON_ONE_PAGE + 1
    _, html, tables = report(results, n_networks=n)
    assert "data:image" not in html
    assert all(is_here(address, results) for address in tables.addresses if address != "data:,")
    pages = sorted((results / PAGES).rglob("*.html"))
    assert len(pages) == n + 1
    page = results / PAGES / "lan" / "ddm" / "net3_torch.html"
    assert f"{PAGES}/lan/ddm/net3_torch.html" in tables.addresses
    found = Tables(page.read_text())
    assert found.open == []
    pictures = [address for address in found.addresses if address.endswith(".png")]
    assert len(pictures) == 1 + len(network_folder.PLOTS)
    assert all(is_here(address, page.parent) for address in found.addresses)
    assert "distance from simulations" in found.text
    assert "net2" not in found.text
    assert "half of the <sets> are repeats" in Tables(pages[0].read_text()).text


def test_pages_of_an_earlier_report_go_and_files_of_others_stay(results: Path) -> None:
    write_evaluation(results)
    old = results / PAGES / "lan" / "ddm" / "old.html"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    report(results)
    assert not (results / PAGES).exists()
    thesis = results / PAGES / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        report(results)
    assert thesis.exists()


def test_networks_of_both_backends_share_a_row_and_a_table_where_their_gates_agree(
    results: Path,
) -> None:
    write_evaluation(results)
    first = read_network(results / "networks" / "lan" / "ddm" / "net_torch")
    card = first.network.own_card.model_copy(update={"backend": "jax"})
    folder = first.network.own_folder.with_name("net_jax")
    other = replace(first, network=replace(first.network, card=card, folder=folder))
    tables = Tables(verdict_section([first, other]))
    (row,) = (row for row in tables.rows if row[:1] == ["ddm lan net"])
    assert row[1] == "torch, jax"
    (row,) = (row for row in tables.rows if "distance from simulations" in " ".join(row))
    assert row[2:] == ["5", "5", "1.25", "4"]
    assert tables.text.count("Not checked: hssm") == 1
    assert first.evaluation is not None
    passed = first.evaluation.model_copy(update={"verdict": "passed", "gates": []})
    differing = replace(other, evaluation=passed)
    assert len(Tables(verdict_section([first, differing])).rows) == len(tables.rows) + 1


def test_next_steps_name_the_best_network_that_passed(results: Path) -> None:
    write_evaluation(results)
    _, html, _ = report(results)
    assert "hssm.HSSM" not in html
    assert "run it again" in html
    write_evaluation(results, verdict="passed")
    _, html, tables = report(results)
    assert 'data, model="ddm", loglik_kind="approx_differentiable"' in tables.text
    assert f"lanflow publish {results}/networks/lan/ddm/net_torch" in tables.text
    assert "mlflow ui" not in html  # it was not tracked


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("http://mlflow:5000/", "http://mlflow:5000/#/experiments/2/runs/abc"),
        ("https://***@host/a b", "https://host/a%20b/#/experiments/2/runs/abc"),
        ("sqlite:////tmp/mlflow.db", None),
    ],
)
def test_a_run_on_a_server_has_a_link(results: Path, uri: str, address: str | None) -> None:
    write_evaluation(results, verdict="passed")
    one = read_network(results / "networks" / "lan" / "ddm" / "net_torch")
    card = one.network.own_card.model_copy(update={"mlflow_run_id": "abc"})
    run = RunFile(mlflow_tracking_uri=uri, mlflow_experiment_id="2")
    one = replace(one, network=replace(one.network, card=card), run=run)
    page = results / "report.html"
    found = Tables(lineage_section([], [one], page)).addresses
    assert found[1:] == ([] if address is None else [address])


def test_long_lists_of_files_are_cut(results: Path) -> None:
    path = results / "ddm" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] *= 30
    manifest["left_out"] = [
        {"run_id": "r", "run_name": "n", "reason": "not whole", "files": ["a.pickle"]}
    ]
    write_json(path, manifest)
    _, html, tables = report(results)
    assert "and 40 more, which manifest.json lists." in html
    assert ["r", "n", "not whole", "a.pickle"] in tables.rows


HOSTILE = "\"'><script>alert(1)</script>&{{ 7 * 7 }}"


def made_hostile(value: Any, *, but: Collection[str] = ()) -> Any:
    """JSON with hostile text at the end of every text and of every free key.

    The values of the keys in ``but`` stay as they are, since whoever reads them accepts a few words
    only.
    """
    if isinstance(value, dict):
        return {
            key: each if key in but else made_hostile(each, but=but) for key, each in value.items()
        }
    if isinstance(value, list):
        return [made_hostile(each, but=but) for each in value]
    return value + HOSTILE if isinstance(value, str) else value


def with_hostile_keys(content: dict[str, Any]) -> dict[str, Any]:
    return {key + HOSTILE: value for key, value in content.items()}


def hostile_network(folder: Path) -> NetworkResults:
    """A network of which every text is hostile, also those that no reader lets through."""
    content = made_hostile(evaluation(), but=["verdict", "network_type", "source"])
    for gate in content["gates"]:
        gate["numbers"], gate["limits"] = map(with_hostile_keys, (gate["numbers"], gate["limits"]))
    read = read_network(folder)
    network, card = read.network, read.network.own_card
    texts = {key: value + HOSTILE for key, value in card if isinstance(value, str)}
    recovery = recovery_plots.record(2)
    agreement = recovery.summary["p0"].model_copy(update={"spearman": 0.5})
    hostile = {"v" + HOSTILE: agreement}
    recovery = recovery.model_copy(update={"method": "search" + HOSTILE, "summary": hostile})
    return NetworkResults(
        network=replace(
            network,
            model_name=network.model_name + HOSTILE,
            card=card.model_copy(update={**texts, "mlflow_run_id": HOSTILE}),
            folder=folder.rename(folder.with_name("net" + HOSTILE.replace("/", ""))),
        ),
        evaluation=parse_evaluation(content, "evaluation.json"),
        run=RunFile(versions={"torch" + HOSTILE: HOSTILE}),
        lineage=read.lineage,
        recovery=recovery,
    )


def hostile_data(folder: Path) -> ReportedData:
    """Data of which every text is hostile."""
    read = read_data(folder)
    manifest, data_set = made_hostile(read.manifest), made_hostile(read.data_set)
    audit = made_hostile(read.audit)
    manifest["bounds"] = with_hostile_keys(manifest["bounds"])
    manifest["experiment"] = {"name": HOSTILE, "id": HOSTILE}
    run = {"run_id": HOSTILE, "run_name": HOSTILE, "status": HOSTILE, "n_files": HOSTILE}
    manifest["runs"] = [run]
    manifest["left_out"] = [
        {"run_id": HOSTILE, "run_name": HOSTILE, "reason": HOSTILE, "files": [HOSTILE]}
    ]
    data_set["shapes"] = with_hostile_keys(data_set["shapes"])
    audit["rows"] = with_hostile_keys(audit["rows"])
    audit["coverage"]["parameters"] = with_hostile_keys(audit["coverage"]["parameters"])
    audit["trials"]["choice_shares"] = with_hostile_keys(audit["trials"]["choice_shares"])
    return ReportedData(read.model + HOSTILE, manifest, data_set, audit, read.folder)


def hostile_row() -> Row:
    texts = ("model", "network_type", "network", "backend", "origin", "verdict", "onnx")
    numbers = {"best_val_loss": 0.5, "best_epoch": 1, "n_epochs": 2, "n_weights": 3, "seed": 1}
    return Row(
        data_digest=HOSTILE, mlflow_run_id=HOSTILE, **dict.fromkeys(texts, HOSTILE), **numbers
    )


def test_hostile_text_in_any_field_is_text_on_the_page(results: Path) -> None:
    folder = results / "networks" / "lan" / "ddm" / "net_torch"
    write_bytes(folder / network_folder.RECOVERY_PLOT, (folder / network_folder.CURVE).read_bytes())
    write_evaluation(results)
    calm = Tables(report(results)[1])
    network, data = hostile_network(folder), hostile_data(results / "ddm")
    study = Study(
        name=HOSTILE,
        networks=[network],
        data=[data],
        rows=[hostile_row()],
        results=HOSTILE,
        study_path=HOSTILE,
        settings=HOSTILE,
    )
    (page,) = render_report(study, results / "report.html").values()
    tables = Tables(page)
    assert tables.open == []
    assert tables.seen <= calm.seen | {"code"}
    assert all(is_here(address, results) for address in tables.addresses)
    assert not [part for part in ("<script", "alert(1)</", "\"'>", HOSTILE) if part in page]
    assert network.evaluation is not None
    for shown in (
        *(
            f"of the study {HOSTILE}",
            f"1 network of {data.model}",
            f"found again by search{HOSTILE}",
        ),
        *(network.name, f"v{HOSTILE} 0.500", f"torch{HOSTILE} (training){HOSTILE}"),
        *(gate.name for gate in network.evaluation.gates),
        *(network.evaluation.gates[2].reason, f"distance ratio{HOSTILE}"),
        *(network.network.own_card.data_digest, f"coverage of v{HOSTILE}", f"lan{HOSTILE} rows"),
        *(data.manifest[key] for key in ("digest", "parameters")),
        *(data.manifest["files"][0][key] for key in ("name", "sha256")),
        *(data.audit["warnings"][0], data.audit["coverage"]["corners"]["emptiest"]),
        f"MLflow experiment {HOSTILE} (id {HOSTILE})",
    ):
        assert all(text in tables.text for text in ([shown] if isinstance(shown, str) else shown))
