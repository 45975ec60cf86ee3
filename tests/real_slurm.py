"""A Slurm of two nodes on one machine, in a folder of its own, with or without accounting.

It takes root, and Debian's packages:

apt-get install --no-install-recommends slurm-wlm munge slurmdbd mariadb-server
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db", "sbatch")
NODES = ("n1", "n2")
# More than there is, on each: nothing is computed here.
CPUS, MEMORY_MB, GPUS = 64, 256_000, 16
CONF = """\
ClusterName=testing
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd%n.log
# A container may not make control groups.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=100000,bf_interval=1
SlurmdTimeout=5
SlurmctldTimeout=5
MinJobAge={remembered}
InactiveLimit=0
KillWait=2
ReturnToService=2
OverTimeLimit=0
GresTypes=gpu
{accounting}
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket"""
DBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={db_port}
StorageLoc=accounting
StorageUser=root
"""


def missing():
    """Say why Slurm cannot be started here; nothing where it can."""
    if os.geteuid() != 0:
        return "Slurm is started by root alone"
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"Slurm is not installed: there is no {', '.join(lacking)}" if lacking else None


def free_ports(number):
    """Ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(condition, seconds=30, every=0.1):
    """Wait for a condition, and give its value; an error where it does not come."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"Waited {seconds} s for nothing: {condition}")
        time.sleep(every)
    return value


class Slurm:
    """A running Slurm; `environment` is what its commands need.

    Args:
        folder: For its state, sockets and logs. Its path must be short: a socket's has at most 107 letters.
        accounting: Whether there is a database of jobs.
        remembered: Seconds for which squeue knows of a job that has ended.
    """

    def __init__(self, folder, accounting, remembered=300):
        self.folder, self.accounting = folder, accounting
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self.processes = {}
        self.host = socket.gethostname().partition(".")[0]
        ctld_port, dbd_port, self.db_port, *node_ports = free_ports(3 + len(NODES))
        (folder / "state").mkdir(parents=True)
        folder.chmod(0o755)
        values = {"folder": folder, "host": self.host, "port": dbd_port, "db_port": self.db_port}
        self._write(
            "slurm.conf",
            CONF.format(
                **values,
                ctld_port=ctld_port,
                nodes="\n".join(map(self._node, NODES, node_ports)),
                remembered=remembered,
                accounting=ACCOUNTING.format(**values) if accounting else "",
            ),
        )
        # Slurm asks for a device of each, and opens none.
        for number in range(GPUS):
            (folder / f"gpu{number}").touch()
        self._write("gres.conf", f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
        self._write("slurmdbd.conf", DBD.format(**values))

    def _node(self, name, port):
        where = f"NodeName={name} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={port}"
        return f"{where} CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPUS}"

    def __enter__(self):
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with suppress(RuntimeError, TimeoutError):
            self.run("scancel", "--user=root", "--signal=KILL", "--full")
            self.run("scancel", "--user=root")
            until(lambda: not self.run("squeue", "--noheader").strip(), 15)
        for process in reversed(self.processes.values()):
            self._end(process)
        self.processes.clear()

    def _begin(self):
        self._write("munge.key", os.urandom(128))
        self._start(
            "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket",
            f"--key-file={self.folder}/munge.key", f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed",
        )  # fmt: skip
        until(lambda: (self.folder / "munge.socket").exists())
        if self.accounting:
            self._begin_accounting()
        self._start("slurmctld", "-D", "-i")
        for name in NODES:
            self._start("slurmd", "-D", "-N", name, name=name)
        until(lambda: self.run("sinfo", "--noheader", "-o", "%t").split() == ["idle"])

    def _begin_accounting(self):
        data = self.folder / "database"
        options = ["--no-defaults", f"--datadir={data}", "--user=root"]
        self.run("mariadb-install-db", *options, "--auth-root-authentication-method=normal", "--skip-test-db")
        self._start(
            "mariadbd", *options, f"--socket={self.folder}/db.socket", "--bind-address=127.0.0.1",
            f"--port={self.db_port}",
            f"--pid-file={self.folder}/db.pid", "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip
        until(lambda: self.succeeds("mariadb-admin", f"--socket={self.folder}/db.socket", "ping"))
        self._start("slurmdbd", "-D")
        until(lambda: self.succeeds("sacctmgr", "-i", "list", "cluster"))
        self.run("sacctmgr", "-i", "add", "cluster", "testing")

    def kill_node(self, name, job):
        """Let a node die: its daemon, and all that a job on it has started."""
        self._end(self.processes.pop(name))
        for number in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()):
            with suppress(OSError):
                around = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
                command = Path(f"/proc/{number}/cmdline").read_bytes()
                ours = f"SLURM_CONF={self.folder}/slurm.conf".encode() in around
                if ours and (b"slurmstepd" in command or f"SLURM_JOB_ID={job}".encode() in around):
                    os.kill(number, signal.SIGKILL)

    def run(self, *command):
        """Run a command; give what it prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def succeeds(self, *command):
        """Whether a command does."""
        try:
            self.run(*command)
        except RuntimeError:
            return False
        return True

    def _start(self, command, *arguments, name=None):
        name = name or command
        with open(self.folder / f"{name}.out", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [command, *arguments],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _end(self, process):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _write(self, name, content):
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
