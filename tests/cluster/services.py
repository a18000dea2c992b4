"""Real servers on the loopback: Slurm, PostgreSQL, an S3 store, MLflow over both.

Everything a server writes is in one folder, and nothing is left running: each is a child of the
tests, on a free port, and ends with them.
"""

import contextlib
import getpass
import importlib.metadata
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.readme import commands_with

# Debian's PostgreSQL keeps its programs out of the path.
_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
_PATH = os.pathsep.join(["/usr/sbin", "/sbin", *map(str, _POSTGRES)])
_PROGRAMS = {
    "slurm-wlm": ["slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo"],
    "munge": ["munged"],
    "postgresql": ["initdb", "postgres"],
}
BUCKET = "lanflow-artifacts"

# Slurm starts more jobs than the machine has cores for: they wait for one another more than they
# compute, and a test of two jobs at once needs no machine of eight.
_SLURM_CPUS = 8


def find(program: str) -> str | None:
    """Return the path of a program, also where Debian's packages put it."""
    return shutil.which(program) or shutil.which(program, path=_PATH)


def missing_packages() -> list[str]:
    """List Debian packages that are missing, and "root" unless this is root."""
    absent = [package for package, names in _PROGRAMS.items() if not all(map(find, names))]
    return absent + ["root"] * (os.geteuid() != 0)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 120) -> None:
    """Wait until a condition holds; the limit allows for a very busy machine."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.2)


@dataclass
class Server:
    """A program that runs until it is stopped, with its output in a file."""

    command: Sequence[str]
    log_path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self, is_ready: Callable[[], object]) -> None:
        self.launch()
        self.wait_until(is_ready)

    def launch(self) -> None:
        with self.log_path.open("ab") as output:
            # The kernel ends the server should the tests be killed before they could.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", *self.command],
                env={**os.environ, **self.environment},
                user=self.user,
                extra_groups=None if self.user is None else [],
                cwd=self.log_path.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until(self, is_ready: Callable[[], object]) -> None:
        process = self.process
        assert process is not None

        def ready() -> object:
            assert process.poll() is None, (self.command, self.log_path.read_text()[-3000:])
            return is_ready()

        wait_for(ready, f"{self.command[0]} ({self.log_path})")

    def stop(self) -> None:
        """End the server and everything it started."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=20)
        self.process = None


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Slurm:
    """A cluster of one node."""

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str, check: bool = True) -> str:
        """Run a command of Slurm and return what it prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def jobs(self) -> dict[str, tuple[str, str]]:
        """Return the jobs that wait or run: id -> state and comment (the rule)."""
        lines = self.ask("squeue", "--noheader", "--format=%A|%T|%k").splitlines()
        return {job: (state, comment) for job, state, comment in (x.split("|") for x in lines)}

    def running(self, rule: str) -> str | None:
        """Return the id of a running job of a rule, or None."""
        found = [job for job, (state, comment) in self.jobs().items() if rule in comment]
        return next((job for job in found if self.jobs().get(job, ("",))[0] == "RUNNING"), None)


@contextlib.contextmanager
def run_slurm(folder: Path) -> Iterator[Slurm]:
    """Start munge, slurmctld and slurmd."""
    socket_path = folder / "munge.socket"
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    config = folder / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    config.write_text(
        _SLURM_CONF.format(
            host=host,
            controller_port=free_port(),
            node_port=free_port(),
            folder=folder,
            munge=socket_path,
            cpus=_SLURM_CPUS,
            user=getpass.getuser(),
        )
    )
    # A GPU that Slurm gives to jobs and no backend sees.
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    environment = {"SLURM_CONF": str(config), "PATH": _path_with_srun(folder, config)}
    slurm = Slurm(folder, environment)
    with contextlib.ExitStack() as stack:

        def serve(name: str, *options: str, is_ready: Callable[[], object]) -> None:
            program = find(name)
            assert program is not None
            server = Server([program, *options], folder / f"{name}.log", environment)
            stack.callback(server.stop)
            server.start(is_ready)

        munge_files = [
            *("--socket", str(socket_path), "--key-file", str(key)),
            *("--pid-file", str(folder / "munged.pid"), "--seed-file", str(folder / "munge.seed")),
            *("--log-file", str(folder / "munge.log"), "--force", "--foreground"),
        ]
        serve("munged", *munge_files, is_ready=socket_path.exists)
        serve("slurmctld", "-D", "-f", str(config), is_ready=lambda: _pinged(slurm))
        serve("slurmd", "-D", "-f", str(config), is_ready=lambda: _node_is_idle(slurm))
        try:
            yield slurm
        finally:
            slurm.ask("scancel", "--state=PENDING", check=False)
            slurm.ask("scancel", "--state=RUNNING", check=False)
            wait_for(lambda: not slurm.jobs(), "jobs to end")


def _path_with_srun(folder: Path, config: Path) -> str:
    """A search path whose ``srun`` knows this cluster.

    Snakemake's jobs drop every ``SLURM_*`` variable, SLURM_CONF with them, before they call it.
    """
    program = folder / "bin" / "srun"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nSLURM_CONF={config} exec {find("srun")} "$@"\n')
    program.chmod(0o755)
    commands = str(Path(sys.executable).parent)  # of this very installation
    return os.pathsep.join([str(program.parent), commands, os.environ["PATH"]])


def _pinged(slurm: Slurm) -> bool:
    return "UP" in slurm.ask("scontrol", "ping", check=False)


def _node_is_idle(slurm: Slurm) -> bool:
    return "idle" in slurm.ask("sinfo", "--noheader", "--format=%T", check=False)


_SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={munge},cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=15
MinJobAge=3600
JobRequeue=1
PriorityType=priority/basic
GresTypes=gpu
SlurmctldDebug=info
SlurmdDebug=info
SlurmctldLogFile={folder}/slurmctld.out
SlurmdLogFile={folder}/slurmd.out
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


@dataclass(frozen=True)
class TrackingServer:
    """MLflow over PostgreSQL, its artifacts in an S3 store."""

    url: str
    server: Server
    s3_environment: dict[str, str]

    def start(self) -> None:
        self.server.start(lambda: answers(f"{self.url}/health"))

    def stop(self) -> None:
        self.server.stop()


@contextlib.contextmanager
def run_postgres(folder: Path) -> Iterator[str]:
    """Create a database for the tests and return its URI, with a password."""
    # PostgreSQL refuses to run as root; Debian's package makes a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        owner = pwd.getpwnam(user)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    password = secrets.token_hex(12)
    password_file = folder / "password"
    password_file.write_text(password)
    password_file.chmod(0o644)
    initdb, postgres = find("initdb"), find("postgres")
    assert initdb is not None
    assert postgres is not None
    data = folder / "data"
    subprocess.run(
        [
            *(initdb, "--pgdata", data, "--username", "mlflow", "--pwfile", password_file),
            *("--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8"),
        ],
        user=user,
        extra_groups=None if user is None else [],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    port = free_port()
    options = ["-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1"]
    server = Server(
        [postgres, "-D", str(data), *options, "-c", "fsync=off"], folder / "log", user=user
    )
    try:
        server.start(lambda: accepts(port))
        yield f"postgresql://mlflow:{password}@127.0.0.1:{port}/postgres"
    finally:
        server.stop()


@contextlib.contextmanager
def run_s3(folder: Path) -> Iterator[dict[str, str]]:
    """Start moto's S3 server with one bucket; yields the variables that a client needs."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1"]
    server = Server([*command, "-p", str(port)], folder / "moto.log")
    variables = {
        "MLFLOW_S3_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "lanflow",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(12),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        server.start(lambda: answers(url))
        request = urllib.request.Request(f"{url}/{BUCKET}", method="PUT")
        with urllib.request.urlopen(request, timeout=60):
            yield variables
    finally:
        server.stop()


def _mlflow_command(port: str, database: str) -> list[str]:
    """Return the command of README.md with the paths of this machine."""
    install, *variables, serve = commands_with("mlflow server")
    # What it says to install is installed, and the variables it says to set are those of our store.
    for package in install.removeprefix("pip install ").split():
        importlib.metadata.version(package)
    assert all(line.startswith("export ") for line in variables)
    places = {
        "mlflow": str(Path(sys.executable).with_name("mlflow")),
        "0.0.0.0": "127.0.0.1",
        "5000": port,
        "postgresql://mlflow:PASSWORD@localhost/mlflow": database,
        "s3://my-bucket/mlflow": f"s3://{BUCKET}/mlflow",
    }
    words = serve.split()
    assert set(places) <= set(words)
    return [places.get(word, word) for word in words]


@contextlib.contextmanager
def run_mlflow(folder: Path, database: str, s3: Mapping[str, str]) -> Iterator[TrackingServer]:
    port = free_port()
    command = [*_mlflow_command(str(port), database), "--workers", "1"]
    environment = {**s3, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes that we never use
    server = Server(command, folder / "mlflow.log", environment)
    tracking = TrackingServer(f"http://127.0.0.1:{port}", server, dict(s3))
    try:
        tracking.start()
        yield tracking
    finally:
        tracking.stop()
