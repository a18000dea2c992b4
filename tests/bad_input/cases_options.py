"""Options of every command: wrong types, huge and negative numbers, names that lead elsewhere."""

from tests.bad_input.case import BASE, GENERATE, NETWORK, TRAIN, Case, generate, lanflow, train

HUGE = str(10**30)
DIGITS = "9" * 5000

# Options of a training, each with a value that is refused by its name.
_TRAINING = [
    ("--seed", "-1"),
    ("--seed", "1.5"),
    ("--seed", ""),
    ("--seed", "\u00b2"),
    ("--seed", HUGE),
    ("--seed", DIGITS),
    ("--threads", "0"),
    ("--threads", "two"),
    ("--threads", "100000"),
    ("--threads", str(10**12)),
    ("--memory-mb", "0"),
    ("--memory-mb", "-5"),
    ("--memory-mb", str(10**15)),
    ("--network-id", "-1"),
    ("--network-id", HUGE),
    ("--device", "tpu"),
    ("--model", ""),
    ("--model", "../x"),
    ("--log-level", "LOUD"),
    ("--dl-workers", "x"),
    ("--dl-workers", "-5"),
    ("--mlflow-send", "maybe"),
    ("--max-repeated-sets", "2"),
    ("--max-repeated-sets", "nan"),
    ("--max-repeated-sets", "inf"),
    ("--path-map", "x"),
    ("--path-map", "=x"),
    *(("--network-name", name) for name in ("../n", "/n", ".", "..", "a\nb", "a" * 300, "\udcff")),
    *(("--run-uuid", name) for name in ("../../x", "a/b", "", "a\0b")),
]


def _shown(value: str) -> str:
    text = ascii(value)
    return text if len(text) <= 30 else f"{text[:20]}... of {len(value)} characters"


CASES: list[Case] = [
    *(train(f"{name} {_shown(value)}", name, name, value) for name, value in _TRAINING),
    train("an unknown option", "--epochs", "--epochs", "3"),
    train("an option cut short", "--net", "--net", "x"),
    train("a word too many", "unexpected: .extra.", "extra"),
    train("--export-onnx with a value", "--export-onnx", "--export-onnx=yes"),
    train("--network-id that the YAML has not", "network id 5 .* 1 network", "--network-id", "5"),
    train("--model of other data", "'ddm'.*'angle'", "--model", "angle"),
    train("two sources of data", "--data-set takes the place", "--training-data-folder", "."),
    train("--config-path that is missing", "none.yaml: no such file", "--config-path", "none.yaml"),
    train("--config-path that is a folder", ": cannot be read", "--config-path", "."),
    train("--data-set that is missing", "none: not a packed data set", "--data-set", "none"),
    train(
        "--data-set that is a file",
        "training.yaml: not a packed data set",
        *("--data-set", f"{BASE}/training.yaml"),
    ),
    train("--manifest that is missing", "none.json: cannot be read", "--manifest", "none.json"),
    train("--manifest that is a folder", ": cannot be read", "--manifest", "."),
    train(
        "--networks-path-base that is a file",
        "training.yaml: is a file",
        *("--networks-path-base", f"{BASE}/training.yaml"),
    ),
    train(
        "--networks-path-base in /proc", "/proc/nothing", "--networks-path-base", "/proc/nothing"
    ),
    train("--networks-path-base in a device", "/dev/null", "--networks-path-base", "/dev/null/x"),
    train(
        "a run to continue, and no store",
        "--mlflow-run-id",
        "--mlflow-run-id",
        "a",
        "--mlflow-send",
        "later",
    ),
    Case(
        "a training without a place",
        ("torchtrain", "--training-data-folder", f"{BASE}/files"),
        "--networks-path-base",
    ),
    Case("a training without data", ("torchtrain", "--networks-path-base", "n"), "no data: give"),
    *(
        generate(f"generate {name} {_shown(value)}", name, name, value)
        for name, value in [
            ("--n-files", "0"),
            ("--n-files", "many"),
            ("--n-files", HUGE),
            ("--chunk", "-1"),
            ("--chunk", HUGE),
            ("--processes", "0"),
            ("--processes", str(10**12)),
            ("--seed", HUGE),
            ("--model", "x y/z"),
            ("--model", "a\nb"),
            ("--log-level", ""),
        ]
    ),
    generate("--log-files without a run", "--log-files needs a run", "--log-files"),
    generate(
        "generate into a file", "generation.yaml: is a file", "--output", f"{BASE}/generation.yaml"
    ),
    generate("generate into /proc", "/proc/nothing", "--output", "/proc/nothing"),
    generate(
        "generate into a folder of somebody's",
        "thesis.txt",
        "--output",
        "mine",
        files={"mine/thesis.txt": "all of it"},
    ),
    *(
        lanflow(f"{words[0]} {option} into a device", f"{option}.*/dev/null", *words, option, place)
        for place in ("/dev/null/x.json",)
        for option, words in [
            ("--output", ("prepare", "e")),
            ("--output", ("check-gates", "e.json")),
            ("--output", ("evaluate", NETWORK)),
            ("--plot", ("recover", NETWORK, "--output", "r.json")),
            ("--plot", ("audit", "d", "--manifest", "m.json", "--output", "a.json")),
            ("--output", ("query", "e")),
            ("--output", ("register", NETWORK)),
            ("--output", ("sync", "r")),
            ("--output", ("check-node", "e")),
        ]
    ),
    *(
        Case(
            f"{words[0]} {words[1]} ... {option} {_shown(name)}",
            (*words, option, name),
            "name|read|no such|does not exist|data set",
            {},
        )
        for name in ("n" * 300, "\udcff", "a\nb")
        for option, words in [
            ("--config-path", TRAIN),
            ("--data-set", TRAIN),
            ("--manifest", TRAIN),
            ("--config-path", GENERATE),
            ("--folder", ("lanflow", "manifest", "--output", "m.json")),
            (
                "--card",
                ("lanflow", "evaluate", "--model", "ddm", "--onnx", f"{NETWORK}/model.onnx"),
            ),
        ]
    ),
    train(
        "--networks-path-base of 300 letters",
        "n{300}.*: File name too long",
        "--networks-path-base",
        "n" * 300,
    ),
    generate(
        "generate into a name of 300 letters", "n{300}.*: File name too long", "--output", "n" * 300
    ),
    lanflow("no command", "COMMAND"),
    lanflow("an unknown command", "frobnicate", "frobnicate"),
    lanflow(
        "materialise onto a file",
        "x.json: is a file",
        "materialise",
        f"{BASE}/manifest.json",
        "--output",
        "x.json",
        files={"x.json": "{}"},
    ),
    lanflow(
        "materialise onto a folder of somebody's",
        "thesis.txt",
        "materialise",
        f"{BASE}/manifest.json",
        "--output",
        "mine",
        files={"mine/thesis.txt": "all of it"},
    ),
    lanflow(
        "materialise on too many processes",
        "--processes",
        "materialise",
        f"{BASE}/manifest.json",
        "--output",
        "d",
        "--processes",
        HUGE,
    ),
    lanflow(
        "audit with a share of 2",
        "--max-repeated-sets",
        "audit",
        f"{BASE}/data_set",
        "--manifest",
        f"{BASE}/manifest.json",
        "--output",
        "a.json",
        "--max-repeated-sets",
        "2",
    ),
    lanflow(
        "audit into a folder that is a file",
        "x.json: is a file",
        "audit",
        f"{BASE}/data_set",
        "--manifest",
        f"{BASE}/manifest.json",
        "--output",
        "x.json/a.json",
        files={"x.json": "{}"},
    ),
    lanflow("manifest of nothing", "--query, --folder", "manifest", "--output", "m.json"),
    lanflow(
        "manifest of an empty folder",
        r"\.pickle|no training files",
        "manifest",
        "--folder",
        ".",
        "--output",
        "m.json",
    ),
    lanflow(
        "manifest of a folder that is missing",
        "none",
        "manifest",
        "--folder",
        "none",
        "--output",
        "m.json",
    ),
    lanflow(
        "manifest of a file",
        "training_data_0.pickle",
        "manifest",
        "--folder",
        f"{BASE}/files/training_data_0.pickle",
        "--output",
        "m.json",
    ),
    lanflow(
        "manifest relabelled by magic",
        "--relabel",
        "manifest",
        "--folder",
        f"{BASE}/files",
        "--relabel",
        "magic",
        "--output",
        "m.json",
    ),
    lanflow(
        "manifest of another model",
        "'ddm'.*'angle'",
        "manifest",
        "--folder",
        f"{BASE}/files",
        "--model",
        "angle",
        "--output",
        "m.json",
    ),
    lanflow(
        "manifest onto a folder",
        "--output.*is a folder",
        "manifest",
        "--folder",
        f"{BASE}/files",
        "--output",
        "place",
        files={"place/x": ""},
    ),
    *(
        lanflow(f"evaluate {name} {_shown(value)}", name, "evaluate", NETWORK, name, value)
        for name, value in [
            ("--n-sets", "0"),
            ("--n-sets", HUGE),
            ("--rows", "-2"),
            ("--n-simulated-sets", "many"),
            ("--seed", HUGE),
            ("--reference", "oracle"),
        ]
    ),
    lanflow(
        "evaluate more trials than memory holds",
        "GiB of memory.*--n-sets",
        *("evaluate", "--onnx", f"{NETWORK}/model.onnx", "--model", "ddm", "--rows", str(10**9)),
    ),
    lanflow(
        "recover more subjects than memory holds",
        "GiB of memory.*--n-subjects",
        *("recover", NETWORK, "--output", "r.json", "--method", "maximum-likelihood"),
        *("--n-subjects", str(10**9)),
    ),
    lanflow("evaluate nothing", "--onnx FILE", "evaluate"),
    lanflow("evaluate two networks", "--onnx FILE", "evaluate", NETWORK, "--onnx", "x.onnx"),
    lanflow(
        "evaluate a folder as a model", "--model and --card", "evaluate", NETWORK, "--model", "ddm"
    ),
    lanflow(
        "recover --n-subjects 0",
        "--n-subjects",
        "recover",
        NETWORK,
        "--output",
        "r.json",
        "--n-subjects",
        "0",
    ),
    lanflow(
        "recover --processes of a city",
        "--processes",
        "recover",
        NETWORK,
        "--output",
        "r.json",
        "--processes",
        str(10**12),
    ),
    lanflow("plot --draws huge", "--draws", "plot", NETWORK, "--draws", HUGE),
    lanflow(
        "plot into a folder of somebody's",
        "thesis.txt",
        "plot",
        NETWORK,
        "--output",
        "mine",
        files={"mine/thesis.txt": "all of it"},
    ),
    lanflow(
        "bundle into a folder of somebody's",
        "thesis.txt",
        "bundle",
        NETWORK,
        "--output",
        "mine",
        files={"mine/thesis.txt": "all of it"},
    ),
    lanflow(
        "bundle under no licence",
        "--licence",
        "bundle",
        NETWORK,
        "--output",
        "b",
        "--licence",
        "Do What You Want",
    ),
    lanflow("publish to no repository", "--repo", "publish", NETWORK, "--repo", "../.."),
    lanflow("sync of nothing", "RESULTS", "sync"),
    lanflow("sync of a folder that is missing", "none", "sync", "none"),
    lanflow("sync of a file", "x.json", "sync", "x.json", files={"x.json": "{}"}),
    lanflow("check-gates of nothing", "FILE", "check-gates"),
    lanflow("check-node for a TPU", "--gpu-for", "check-node", "e", "--gpu-for", "tpu"),
    lanflow("site of a machine without Slurm", "Slurm|sinfo|sacctmgr", "site", "--profile", "p"),
]
